"""Hostile and ordinary Markdown, rendered whole."""

from __future__ import annotations

import re

import pytest

from webapp.rendering.formulas import MAX_MATH_CHARS
from webapp.rendering.growing import GrowingMarkdown
from webapp.rendering.markdown import MAX_CHARS, render

ATTACKS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)</script>",
    "<svg onload=alert(1)><a xlink:href='javascript:alert(1)'>x</a></svg>",
    "<iframe src=https://evil></iframe>",
    "<p hx-get=/admin/ hx-trigger=load>x</p>",
    "<hx-partial hx-target='body'>x</hx-partial>",
    "<form action=https://evil><input name=q><button>go</button></form>",
    "<style>*{background:url(https://evil)}</style>",
    "<math><mtext></mtext><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<!-- --><base href=https://evil>",
    "`<b>` <b>x</b>",
    "$\\text{<img src=x onerror=alert(1)>}$",
    "\\(\\href{javascript:alert(1)}{x}\\)",
]
TAG = re.compile(r"<(img|script|svg|iframe|form|style|base|link|object|embed|hx-\w+)[\s>/]", re.IGNORECASE)
HANDLER = re.compile(r"<[^>]*\s(on\w+|hx-[\w:-]+|style|src|srcset|xlink:href|formaction)\s*=", re.IGNORECASE)


def inert(html: str) -> bool:
    return not TAG.search(html) and not HANDLER.search(html)


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_in_a_model_output_is_shown_as_text(attack: str) -> None:
    """FAULTS 1."""
    assert inert(render(attack))


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "java\tscript:alert(1)",
        "&#106;avascript:alert(1)",
        "&#x6a;avascript&colon;alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "file:///etc/passwd",
        "vbscript:x",
        "//evil.example/x",
        "/admin/",
        "\x01javascript:alert(1)",
        " javascript:alert(1)",
    ],
)
def test_an_unsafe_address_is_no_link(address: str) -> None:
    """FAULTS 2."""
    for text in (f"[x]({address})", f"[x](<{address}>)", f"<{address}>", f"[x][r]\n\n[r]: {address}", f"![x]({address})"):
        assert "href" not in render(text), text


@pytest.mark.parametrize(
    "text",
    [
        "![x](https://evil.example/?q=1)",
        "![x][r]\n\n[r]: https://evil.example/?q=1",
        "[![x](https://evil.example/?q=1)](https://ok.example)",
    ],
)
def test_an_image_becomes_a_link_to_click(text: str) -> None:
    """FAULTS 3."""
    html = render(text)
    assert "<img" not in html
    assert 'href="https://evil.example/?q=1"' in html


@pytest.mark.parametrize("language", ["mermaid", "svg", "html", "", "no-such-language", "py'onclick=x"])
def test_a_code_fence_is_inert(language: str) -> None:
    """FAULTS 4."""
    html = render(f"```{language}\n<svg onload=alert(1)><script>x</script>\n```")
    assert inert(html)
    assert "onload" in re.sub(r"<[^>]+>", "", html)


@pytest.mark.parametrize(
    "attack", [*ATTACKS, "[x](javascript:alert(1))", "![x](https://evil.example/?q)", "```html\n<script>alert(1)</script>\n```\nafter"]
)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_a_payload_split_across_chunks_is_inert_at_every_step(attack: str, size: int) -> None:
    """FAULTS 6."""
    text = f"Some words before. {attack}\n\n{attack}\n\n- item {attack}\n"
    growing = GrowingMarkdown(clock=lambda: 0.0)
    for start in range(0, len(text), size):
        growing.feed(text[start : start + size])
        growing.update()
        for block in growing.blocks:
            assert inert(block.html)
            assert "javascript:" not in "".join(re.findall(r'href="[^"]*"', block.html))


def test_it_speaks_github_markdown() -> None:
    html = render(
        "- [x] done\n\n~~old~~ https://example.com\n\n|a|b|\n|:-:|-|\n|1|2|\n\n```python\nx = 1\n```\n\nnote[^1]\n\n[^1]: text", anchor="m1"
    )
    for piece in (
        'type="checkbox"', "<s>old</s>", 'href="https://example.com"', 'target="_blank"', "noopener", '<th class="align-center">',
        'class="hl-', 'data-copy="code"', 'id="fn-m1-1"', "#fnref-m1-1",
    ):  # fmt: skip
        assert piece in html, piece
    assert "style=" not in html


@pytest.mark.parametrize("text", ["$x^2$", "\\(x^2\\)", "\\[x^2\\]", "$$\nx^2\n$$", "$$x^2$$"])
def test_math_becomes_mathml(text: str) -> None:
    assert "<msup><mi>x</mi><mn>2</mn></msup>" in render("so " * ("\n" not in text) + text)


@pytest.mark.parametrize("text", ["It costs $5 and $6.", "from $5-$6 a piece", "\\$x\\$"])
def test_prices_are_not_math(text: str) -> None:
    assert "<math" not in render(text)


def test_a_formula_that_cannot_be_read_is_shown_as_its_source() -> None:
    assert '<code class="math-source">\\frac{</code>' in render("so $\\frac{$ there")


def test_an_enormous_text_is_plain() -> None:
    assert render("<" * (MAX_CHARS + 1)).startswith("<pre>&lt;")


def test_template_and_format_strings_are_literal() -> None:
    """FAULTS 17."""
    assert render("{{7*7}} {0.real} {% now %} %(x)s ${x}") == '<p dir="auto">{{7*7}} {0.real} {% now %} %(x)s ${x}</p>\n'


def test_a_formula_is_looked_for_no_further_than_one_may_be_long() -> None:
    """Else thousands of openers without a closer would each scan the whole text."""
    assert "<math" in render(r"\(x + 1\)")
    assert "<math" not in render("\\(" + "x" * MAX_MATH_CHARS + "\\)")
