"""Formulas are told from plain text, and TeX becomes MathML."""

from __future__ import annotations

import pytest

from webapp.rendering.markdown import render
from webapp.rendering.mathml import to_mathml
from webapp.rendering.sanitize import clean

FORMULAS = [
    "$x$",
    "the $n$th element",
    "$5$ apples",
    "$1,000$",
    "$2 + 3 = 5$",
    "$3x$ and $|x|$",
    "an angle of $90^\\circ$",
    "($x$), $y$; $z$.",
    "**$x$**",
    "设$x$为实数",
    "なので$x=1$です",
    "$\\text{if $a$ then } b$",
    "$|0\\rangle$",
    "$$x^2$$",
    "so $$ x = 1 $$ there",
    "\\(x\\)",
    "\\[x\\]",
    "we have: \\[\na\n=\nb\n\\] where a is",
    "so $$\na\n- b\n$$ and on",
    "$$\na\n\nb = c\n$$",
    "> $$\n> a\n> - b\n> $$",
    "- item\n\n  $$\n  a\n  + b\n  $$",
    "\\begin{align}\na &= b \\\\\n- c &= d\n\\end{align}",
    "```math\n\\frac{a}{b}\n```",
]
NOT_FORMULAS = [
    "It costs $5 and $6.",
    "from $5-$6 a piece",
    "between $20 and 30$ a month",
    "pay $100 (or 90$ in cash)",
    "US$5, CA$7 and A$10",
    "a $1.5M round and a $2M one",
    "\\$x\\$",
    "cd $HOME/$USER",
    "echo $HOME$PATH and ${HOME}/bin:$PATH",
    "buy $AAPL, sell $MSFT",
    "($AAPL,$MSFT)",
    "^a$|^b$",
    "[a-z]$|[0-9]$",
    "s/^$/x/; s/$/y/",
    "echo $$; kill $$",
    "$$ moderate, $$$ expensive",
    "$$ – moderate\n$$$ – expensive",
    "the $ sign and the € sign: $ €",
    "`$x$` and ``$$y$$``",
    "$(document).ready and $('#id')",
]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_converted(text: str) -> None:
    html = render(text)
    assert html.count("<math") >= 1, html
    assert "math-source" not in html, html


@pytest.mark.parametrize("text", NOT_FORMULAS)
def test_money_variables_and_patterns_stay_as_they_are_written(text: str) -> None:
    html = render(text)
    assert "<math" not in html, html
    assert "math-source" not in html, html


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        *((name, 2) for name in ("aligned", "align", "align*", "gathered", "gather", "gather*", "multline", "multline*", "split", "cases")),
        *((name, 2) for name in ("dcases", "rcases", "pmatrix", "bmatrix", "vmatrix", "smallmatrix", "matrix", "eqnarray")),
    ],
)
def test_environments_with_rows_become_tables(name: str, rows: int) -> None:
    cell = "a" if name in {"gathered", "gather", "gather*", "multline", "multline*"} else "a & = b"
    html = clean(to_mathml(rf"\begin{{{name}}}{cell} \\ {cell}\end{{{name}}}", display=True))
    assert html.count("<mtable") == 1
    assert html.count("<mtr") == rows
    assert "&amp;" not in html


@pytest.mark.parametrize(
    "latex",
    [
        r"\ce{2H2 + O2 -> 2H2O}",
        r"\ce{SO4^2-}",
        r"\pu{123 kJ//mol}",
        r"\begin{alignedat}{2}a&=b&c&=d\end{alignedat}",
        r"\sum_{\substack{i<n\\j<m}} x_{ij}",
        r"a = b \tag{1}",
        r"\newcommand{\R}{\mathbb{R}} x \in \R",
        r"\mbox{if } x > 0",
        r"\norm{x} + \abs{y} + \dv{f}{x}",
        r"\boxed{x} + \cancel{y} + \underbrace{a+b}_{n}",
        r"\color{red}{x} + \colorbox{yellow}{y}",
        r"\left.\frac{dy}{dx}\right|_{x=0}",
        r"\xrightarrow[a]{b} \quad \overset{!}{=}",
        r"\operatorname*{argmax}_x f(x)",
        r"\begin{aligned}[t]a&=b\\[2pt]c&=d\end{aligned}",
        r"\mathds{1} \SI{5}{kg}",
        r"\DeclareMathOperator{\rank}{rank} \rank A",
        r"\text{max_tokens} = 5",
        r"\begin{tabular}{cc} a & b \end{tabular}",
    ],
)
def test_commands_of_common_packages_are_converted(latex: str) -> None:
    html = clean(to_mathml(latex, display=True))
    assert html.startswith("<math")
    assert "\\" not in html


@pytest.mark.parametrize("latex", [r"\frac{", r"\unknowncommand x", r"\href{javascript:alert(1)}{x}", "{" * 3000, r"\def\a{\a\a}\a"])
def test_a_formula_that_cannot_be_read_is_shown_as_its_source(latex: str) -> None:
    assert to_mathml(latex, display=False).startswith('<code class="math-source">')


def test_html_inside_a_formula_is_text() -> None:
    html = render(r"$\text{<img src=x onerror=alert(1)>}$")
    assert "<img" not in html
    assert "&lt;img&nbsp;src=x&nbsp;onerror=alert(1)&gt;" in html


def test_styles_become_classes() -> None:
    html = clean(to_mathml(r"\begin{array}{c|c}1&2\\\hline 3&4\end{array} \color{red}{x}", display=True))
    assert "style=" not in html
    assert "tml-br" in html
    assert "tml-bb" in html
    assert 'mathcolor="#ff0000"' in html
