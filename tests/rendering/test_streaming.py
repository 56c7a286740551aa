"""Generated Markdown: however it is cut, the stream ends as the whole text, changes no frozen block, and is inert at every step."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.rendering.growing import GrowingMarkdown
from webapp.rendering.markdown import render

WORDS = st.sampled_from(["word", "a", "the sum of", "中文", "emphasis", "x = 1", "1.", "نص", "and so on."])
INLINE = st.sampled_from(
    """*em*  **strong**  **注意：**请  `code`  `  *  **  _  ~~old~~  $x^2$  $5 and $6  $$y$$  \\(z\\)  \\[w\\]  \\[  \\]  $$
    [link](https://example.com)  [a]  [a][b]  [^1]  ![image](https://example.com/i.png)  <br>  H<sub>2</sub>O  <b>bold</b>
    <script>alert(1)</script>  <img src=x onerror=alert(1)>  https://example.com/a  [x](javascript:alert(1))  &amp;
    \\*  |  #  -  >  !""".replace("\n    ", "  ").split("  ")
)
LINE = st.lists(st.one_of(WORDS, INLINE), min_size=1, max_size=5).map(" ".join)
FORMULA = st.lists(
    st.sampled_from(["a = b", "- c", "+ d", "= e", "", "# f", "1. g", r"\begin{aligned}", r"a &= b \\", r"\end{aligned}"]), max_size=4
)


def _lines(*parts: str) -> str:
    return "\n".join(parts)


PARAGRAPH = st.lists(LINE, min_size=1, max_size=3).map("\n".join)
HEADING = st.builds(lambda level, line: f"{'#' * level} {line}", st.integers(1, 7), LINE)
SETEXT = st.builds(lambda text, mark: f"{text}\n{mark}", PARAGRAPH, st.sampled_from(["===", "---", "-", "=", "== ="]))
FENCE = st.builds(
    lambda mark, language, lines, end: _lines(f"{mark}{language}", *lines, *([mark] if end else [])),
    st.sampled_from(["```", "~~~", "````"]), st.sampled_from(["", "python", "math", "mermaid"]), st.lists(LINE, max_size=3), st.booleans(),
)  # fmt: skip
DISPLAY = st.builds(
    lambda before, marks, lines, end, after: f"{before}{marks[0]}\n{_lines(*lines)}\n{marks[1] * end}{after}",
    st.sampled_from(["", "", "so ", "> ", "- "]), st.sampled_from([("$$", "$$"), ("\\[", "\\]"), (r"\begin{align}", r"\end{align}")]),
    FORMULA, st.integers(0, 1), st.sampled_from(["", "", ".", " where a is"]),
)  # fmt: skip
TABLE = st.builds(
    lambda head, rows: _lines(f"| {head} | b |", "|---|:-:|", *(f"| {row} |" for row in rows)), WORDS, st.lists(LINE, max_size=3)
)
DEFINITION = st.sampled_from(
    ["[a]: https://example.com/a", "[b]: /b 'a\ntitle'", "[a]:\nhttps://example.com", '[b]: <https://e.x> "t', "[^1]: A note."]
)
RULE = st.sampled_from(["---", "***", "* * *", "#", "<!-- comment -->", "    indented code", "\tcode"])
LEAF = st.one_of(PARAGRAPH, HEADING, SETEXT, FENCE, DISPLAY, TABLE, DEFINITION, RULE)


def _indented(prefix: str, text: str, *, lazy: bool) -> str:
    first, *rest = text.split("\n")
    indent = prefix if prefix.startswith(">") else " " * len(prefix)
    return "\n".join([prefix + first, *(line if lazy else indent + line for line in rest)])


PREFIX = st.sampled_from(["- ", "* ", "1. ", "2) ", "> ", "> - ", "- [ ] ", "   - "])
CONTAINER = st.builds(
    lambda prefix, blocks, lazy, gap: gap.join(_indented(prefix, block, lazy=lazy) for block in blocks),
    PREFIX, st.lists(LEAF, min_size=1, max_size=3), st.booleans(), st.sampled_from(["\n", "\n\n"]),
)  # fmt: skip
NESTED = st.builds(lambda prefix, inner, lazy: _indented(prefix, inner, lazy=lazy), PREFIX, CONTAINER, st.booleans())
TEXT = st.lists(st.one_of(LEAF, CONTAINER, NESTED), min_size=1, max_size=5).flatmap(
    lambda blocks: st.lists(st.sampled_from(["\n", "\n\n", "\n\n\n"]), min_size=len(blocks), max_size=len(blocks)).map(
        lambda gaps: "".join(block + gap for block, gap in zip(blocks, gaps, strict=True))
    )
)
ACTIVE = re.compile(
    r"<(?:img|script|svg|iframe|form|style|link|object)\b|<[^>]*\s(?:on\w+|style|src)\s*=|href=\"(?!https?:|mailto:|#fn)", re.IGNORECASE
)


def normal(html: str) -> str:
    return re.sub(r">\s+<", "><", re.sub(r"\s+", " ", html)).strip()


def stream(text: str, cuts: list[int]) -> str:
    """Feed the pieces between the cuts; check each step; return the HTML of the end."""
    growing = GrowingMarkdown(clock=lambda: 0.0)
    frozen: list[str] = []
    redraws = 0
    for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
        growing.feed(text[start:end])
        growing.update()
        assert not any(ACTIVE.search(block.html) for block in growing.blocks[-2:])
        if growing.redraws == redraws:
            assert [block.html for block in growing.blocks[: len(frozen)]] == frozen
        redraws = growing.redraws
        frozen = [block.html for block in growing.blocks[:-1]]
    growing.update(final=True)
    return "".join(block.html for block in growing.blocks)


def check_every_character(text: str) -> None:
    assert normal(stream(text, list(range(1, len(text))))) == normal(render(text))


def check_cuts(data: st.DataObject) -> None:
    text = data.draw(TEXT)
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    assert normal(stream(text, cuts)) == normal(render(text))


@settings(max_examples=200, deadline=None)
@given(TEXT)
def test_one_character_at_a_time_the_stream_ends_as_the_whole_text(text: str) -> None:
    """FAULTS 6 and 61."""
    check_every_character(text)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_however_it_is_cut_the_stream_ends_as_the_whole_text(data: st.DataObject) -> None:
    check_cuts(data)


@settings(max_examples=15, deadline=None)
@given(TEXT.filter(lambda text: len(text) < 80))
def test_one_pause_anywhere_changes_nothing(text: str) -> None:
    whole = normal(render(text))
    for cut in range(len(text)):
        assert normal(stream(text, [cut])) == whole


@pytest.mark.slow
@pytest.mark.timeout(1800)
@settings(max_examples=5000, deadline=None)
@given(TEXT, st.data())
def test_thousands_of_texts_end_as_they_are_rendered_whole(text: str, data: st.DataObject) -> None:
    check_every_character(text)
    check_cuts(data)
