"""The answers in `inputs/`, whole and one character at a time (FAULTS 61)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from webapp.rendering.growing import GrowingMarkdown
from webapp.rendering.markdown import render

INPUTS = Path(__file__).parent / "inputs"
NAMES = [
    "aligned-formula",
    "bold-beside-cjk",
    "bracket-formula",
    "break-in-table-cell",
    "currency",
    "dollar-formula-signs",
    "think-tags",
]


def text_of(name: str) -> str:
    return (INPUTS / f"render-{name}.md").read_text("utf-8")


def streamed(text: str) -> str:
    growing = GrowingMarkdown(clock=lambda: 0.0)
    for char in text:
        growing.feed(char)
        growing.update()
    growing.update(final=True)
    return "".join(block.html for block in growing.blocks)


@pytest.fixture(params=[render, streamed], ids=["whole", "streamed"])
def html(request: pytest.FixtureRequest, name: str) -> str:
    return str(request.param(text_of(name)))


@pytest.mark.parametrize("name", ["aligned-formula"])
def test_an_aligned_formula_is_a_table_of_two_rows(html: str) -> None:
    assert html.count("<mtable") == 1
    assert html.count("<mtr>") == 2
    assert "&" not in html


@pytest.mark.parametrize("name", ["break-in-table-cell"])
def test_a_cell_has_line_breaks_and_subscripts(html: str) -> None:
    assert re.search(r"one<br>\s*two", html)
    assert "H<sub>2</sub>O" in html


@pytest.mark.parametrize("name", ["bracket-formula"])
def test_formulas_in_brackets_are_displayed_and_stay_in_their_list_item(html: str) -> None:
    assert html.count('display="block"') == 2
    assert html.count("<li>") == 1
    assert html.index("<li>") < html.rindex('display="block"') < html.index("</li>")


@pytest.mark.parametrize("name", ["bold-beside-cjk"])
def test_bold_text_works_beside_letters_of_scripts_without_spaces(html: str) -> None:
    assert html.count("<strong>") == 3
    assert "*" not in html


@pytest.mark.parametrize("name", ["currency"])
def test_currency_variables_symbols_and_patterns_are_not_formulas(html: str) -> None:
    assert "<math" not in html


@pytest.mark.parametrize("name", ["dollar-formula-signs"])
def test_lines_of_a_formula_that_begin_with_signs_are_not_a_list(html: str) -> None:
    assert html.count('display="block"') == 1
    assert "<li>" not in html


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_ends_as_the_whole(name: str) -> None:
    assert _normal(streamed(text_of(name))) == _normal(render(text_of(name)))


def _normal(html: str) -> str:
    return re.sub(r">\s+<", "><", html).strip()
