"""The cost of Markdown is bounded even for hostile texts, and no text is lost."""

from __future__ import annotations

import re
import time
from html import unescape

import pytest

from webapp.rendering.growing import GrowingMarkdown
from webapp.rendering.highlight import Budget, highlight
from webapp.rendering.markdown import render

CHARS = 120_000
SECONDS = 1.5
"""Of this thread's CPU; prose of that length takes a quarter of a second."""


def repeated(unit: str, chars: int = CHARS) -> str:
    return unit * (chars // len(unit))


def fenced(language: str, code: str) -> str:
    return f"```{language}\n{code}\n```"


def table(columns: int, rows: int, cells: int) -> str:
    return "|a" * columns + "|\n" + "|-" * columns + "|\n" + ("|b" * cells + "|\n") * rows


HOSTILE = {
    **{
        unit: repeated(unit)
        for unit in ("![", "[", "[]", "![](", "*a ", "*_", "~~a ", "<", "<http://", "`a", "&a", "^[", "www.a.b(", "$a", "a@")
    },
    "rising runs of backticks": "".join("`" * length + " " for length in range(1, 480)),
    "closing brackets after an address": "www.a.b" + repeated(")"),
    "openers in many paragraphs": repeated("![" * 480 + "\n\n"),
    "subscripts without an end": repeated("<sub>"),
    "formulas": "".join(f"$x_{{{number}}}$ " for number in range(12_000)),
    "openers of display formulas": repeated("$$\n"),
    "brackets of display formulas": repeated("a \\[\n- "),
    "deep quotes": repeated("> " * 100 + "a\n"),
    "deep lists": "".join("  " * depth + "- a\n" for depth in range(340)),
    "wide table": table(20_000, 1, 20_000),
    "long table": table(2, 20_000, 2),
    "sparse table": table(1000, 20_000, 1),
    "tasks": repeated("- [ ] a\n", 60_000),
    "a line of code of 1 MB": fenced("js", repeated("a(b[c],{d:1})/e;", 1_000_000)),
    "java in one line": fenced("java", repeated("a ", 90_000)),
    "settings in one line": fenced("ini", repeated("a=", 90_000)),
    "raw strings without an end": fenced("rust", repeated('r#"', 66_000)),
    "dense code": fenced("js", repeated("a(b[c],{d:1})/e;\n", 90_000)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_text_takes_more_time_than_its_length_is_worth(name: str) -> None:
    began = time.thread_time()
    html = render(HOSTILE[name])
    assert time.thread_time() - began < SECONDS
    assert html


def test_what_is_over_the_bounds_is_shown_as_it_was_written() -> None:
    text = repeated("**a** [b](https://c.de) ", 4000)
    shown = unescape(re.sub(r"<[^>]+>", "", render(f"{text}\n\nThen *this*.")))
    assert text.strip() in shown
    assert "<em>this</em>" in render(f"{text}\n\nThen *this*.")


def test_a_table_goes_on_as_text_where_it_is_too_large() -> None:
    html = render(table(3, 6000, 3))
    assert html.count("<tr>") > 2000
    assert html.count("<tr>") + html.count("|b|b|b|") == 6001


def test_a_stream_of_openers_stays_quick() -> None:
    view = GrowingMarkdown(clock=time.thread_time)
    began = time.thread_time()
    for _ in range(40):
        view.feed("![" * 250)
        view.due = 0.0
        view.update()
    view.update(final=True)
    assert time.thread_time() - began < SECONDS


def test_colors_end_with_their_budget() -> None:
    budget = Budget(seconds=0.0)
    assert highlight("x = 1", "python", budget) == "x = 1"
    assert '<span class="hl-' in highlight("x = 1", "python", Budget())


def test_a_long_line_has_no_colors_and_is_whole() -> None:
    line = "x = " + "1 + " * 1000
    assert highlight(line, "python") == line
