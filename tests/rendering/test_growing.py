"""Markdown that grows. The clock stands still in most of these: on a slow machine an expensive block would rest."""

from __future__ import annotations

import random
import re

import pytest

from webapp.rendering.growing import GrowingMarkdown
from webapp.rendering.markdown import render

SAMPLE = """# Title here

Some *intro* text with `code` and a [link](https://example.com/a).

- one item of text
- two **bold** item
  continued

  para
1. x
2. y

```python
def f(x):
    return x + 1

print(f(2))
```

> quoted words here and
lazy line

| a | b |
|---|--:|
| 1 | 2 |

Final words: $x^2$ and \\(y\\). Setext
===

<script>alert(1)</script>

***

last one
"""


def normal(html: str) -> str:
    return re.sub(r">\s+<", "><", re.sub(r"\s+", " ", html)).strip()


@pytest.mark.parametrize("seed", range(60))
def test_the_end_is_the_whole_rendering_however_the_text_is_cut(seed: int) -> None:
    source = random.Random(seed)
    growing, at = GrowingMarkdown(clock=lambda: 0.0), 0
    while at < len(SAMPLE):
        size = source.randint(1, 12)
        growing.feed(SAMPLE[at : at + size])
        growing.update()
        at += size
    growing.update(final=True)
    assert normal("".join(block.html for block in growing.blocks)) == normal(render(SAMPLE))


def test_a_finished_block_is_never_drawn_again() -> None:
    growing = GrowingMarkdown(clock=lambda: 0.0)
    growing.feed("First *paragraph*.\n\nSecond ")
    growing.update()
    version = growing.blocks[0].version
    for _ in range(20):
        growing.feed("words and *more* of them ")
        growing.update()
    assert growing.blocks[0].version == version
    assert growing.blocks[1].version > 1


def test_plain_words_are_appended() -> None:
    growing = GrowingMarkdown(clock=lambda: 0.0)
    growing.feed("A **bold** start and ")
    growing.update()
    seen = growing.blocks[0].version
    growing.feed("then words")
    growing.update()
    growing.feed(', and "more"')
    growing.update()
    assert growing.blocks[0].since(seen) == ' then words, and "more"'
    assert growing.blocks[0].tail_selector == ">p:last-child"
    assert growing.blocks[0].html.strip().startswith('<p dir="auto">A <strong>bold</strong> start and then')


def test_a_reader_from_before_a_redraw_gets_the_whole_block() -> None:
    growing = GrowingMarkdown(clock=lambda: 0.0)
    growing.feed("Some words ")
    growing.update()
    seen = growing.blocks[0].version
    growing.feed("and `code`")
    growing.update()
    assert growing.blocks[0].since(seen) is None


def test_words_at_the_end_of_a_list_go_into_its_last_item() -> None:
    growing = GrowingMarkdown(clock=lambda: 0.0)
    growing.feed("- one two\n- three four")
    growing.update()
    growing.feed(" five")
    growing.update()
    assert growing.blocks[0].tail_selector == ">ul:last-child>li:last-child"
    assert normal(growing.blocks[0].html) == '<ul dir="auto"><li>one two</li><li>three four five</li></ul>'


def test_an_expensive_block_is_drawn_less_often() -> None:
    now = [0.0]

    def clock() -> float:
        now[0] += 0.005
        return now[0]

    growing = GrowingMarkdown(clock)
    drawn = 0
    for _ in range(40):
        growing.feed("- *x*\n")
        before = growing.blocks[0].version if growing.blocks else 0
        growing.update()
        drawn += growing.blocks[0].version != before
    assert drawn < 10
    growing.update(final=True)
    assert growing.blocks[0].html.count("<em>") == 40


def test_an_open_code_block_grows_by_its_lines() -> None:
    growing = GrowingMarkdown(clock=lambda: 0.0)
    growing.feed("```python\nx = 1\n" + "y = 2\n" * 100)
    growing.update()
    seen = growing.blocks[0].version
    growing.feed("z = '<b>'\n")
    growing.update()
    assert growing.blocks[0].since(seen) == "z = '&lt;b&gt;'\n"
    growing.feed("```\nafter")
    growing.update()
    assert len(growing.blocks) == 2
    assert "hl-" in growing.blocks[0].html


def test_the_space_between_two_words_is_kept_where_one_is_appended_to_the_other() -> None:
    growing = GrowingMarkdown()
    for word in ("word0 ", "word1 ", "word2 ", "word3"):
        growing.feed(word)
        growing.update()
    assert growing.blocks[-1].html.strip() == '<p dir="auto">word0 word1 word2 word3</p>'


def test_a_link_defined_after_its_use_changes_the_finished_block() -> None:
    growing = fed(["See [the docs].\n\n", "A second paragraph.\n\n", "[the docs]: https://example.com/docs\n\n", "The end"])
    assert 'href="https://example.com/docs"' in growing.blocks[0].html
    assert growing.redraws == 1


def test_a_line_that_is_still_being_written_finishes_no_block() -> None:
    """ "#" may become "#hashtag", and "---" may become "--- and on"."""
    for start, rest in (("words\n#", "hashtag"), ("words\n***", "bold***"), ("- item\n```", "code```")):
        growing = fed([start, rest])
        assert len(growing.blocks) == 1, start
        growing.update(final=True)
        assert normal(growing.blocks[0].html) == normal(render(start + rest))


def test_an_indented_fence_closes_no_code_block() -> None:
    growing = fed(["~~~\n      ~~~\n", "`\n"])
    assert len(growing.blocks) == 1


def test_a_formula_without_its_end_is_shown_as_its_source_until_the_end_comes() -> None:
    growing = fed(["$$\nS = a\n", "- b\n"])
    assert len(growing.blocks) == 1
    assert "<math" not in growing.blocks[0].html
    assert "<li>" not in growing.blocks[0].html
    growing.feed("+ c\n$$\n")
    growing.update()
    assert growing.blocks[0].html.count("<math") == 1


def fed(pieces: list[str]) -> GrowingMarkdown:
    growing = GrowingMarkdown(clock=lambda: 0.0)
    for piece in pieces:
        growing.feed(piece)
        growing.update()
    return growing
