"""A growing answer as HTML, and the frames that a reader gets."""

from __future__ import annotations

import json
import re
import uuid

import pytest

from chat.html.answer_html import RUN, AnswerView, Cursor, finished_html, key
from chat.streaming.answer import Answer

PIECE = re.compile(r'<div class="(run|block)" id="([\w-]+)"')


def test_blocks_come_in_runs_as_they_do_in_the_whole() -> None:
    """However the text is cut into frames: each run once, and in it its own blocks in their order."""
    message, answer = uuid.uuid4(), Answer()
    view, cursor, page = AnswerView(message, answer), Cursor(0), dict[str, list[str]]()
    counts = (1, 3, RUN - 4, 1, 2 * RUN, 5, 1)
    for count in counts:
        event = {"k": "text", "d": "".join(f"Paragraph {number}.\n\n" for number in range(count)), "at": 0.0}
        answer.apply(event)
        view.on(event)
        view.update()
        take(page, view, cursor)
    view.update(final=True)  # a slow machine has the last block rest
    take(page, view, cursor)
    assert page == runs(view.html(), "")
    assert [len(blocks) for blocks in page.values()] == [RUN, RUN, RUN, sum(counts) - 3 * RUN]
    assert list(page) == [f"r-{key(message)}-0-{number}" for number in range(4)]


def take(page: dict[str, list[str]], view: AnswerView, cursor: Cursor) -> None:
    for text in view.frames(cursor):
        swap(page, json.loads(text))


def swap(page: dict[str, list[str]], frame: dict[str, str]) -> None:
    """Apply a frame to runs and blocks as htmx does."""
    if frame["swap"] != "beforeend" or not PIECE.search(frame["content"]):
        return
    for run, blocks in runs(frame["content"], frame["target"][1:]).items():
        page.setdefault(run, []).extend(blocks)


def runs(html: str, target: str) -> dict[str, list[str]]:
    """The ids of the blocks of each run; those before the first run are in `target`."""
    found: dict[str, list[str]] = {}
    run = target
    for kind, id_ in PIECE.findall(html):
        if kind == "run":
            run = id_
            assert run not in found
        else:
            found.setdefault(run, []).append(id_)
    return found


def test_reasoning_is_markdown_and_folded() -> None:
    html = finished_html(uuid.uuid4(), [{"kind": "reasoning", "text": "**Considering**\n\n- one\n- <b>two</b>", "ms": 3000}])
    assert re.search(r'<details class="reasoning"><summary id="h-\w+-0">Thought for 3 s</summary>', html)
    assert "<strong>Considering</strong>" in html
    assert "<li>one</li>" in html
    assert "&lt;b&gt;two" in html


def test_the_title_of_reasoning_changes_when_it_ends() -> None:
    answer = Answer()
    view, cursor = AnswerView(uuid.uuid4(), answer), Cursor(0)
    for event in (
        {"k": "reasoning", "d": "Let me *see*.", "at": 1.0},
        {"k": "text", "d": "The answer", "at": 3.0},
    ):
        answer.apply(event)
        view.on(event)
        view.update()
        frames = [json.loads(text) for text in view.frames(cursor)]
    assert [frame["swap"] for frame in frames] == ["outerMorph", "beforeend"]
    assert "Thought for 2 s" in frames[0]["content"]
    assert "The answer" in frames[1]["content"]


def test_a_definition_after_its_use_begins_a_new_epoch() -> None:
    answer = Answer()
    view = AnswerView(uuid.uuid4(), answer)
    epoch = view.epoch
    for text in ("See [docs].\n\n", "More.\n\n[docs]: https://example.com\n\n", "The end"):
        event = {"k": "text", "d": text, "at": 0.0}
        answer.apply(event)
        view.on(event)
        view.parts[0].markdown.due = 0.0  # type: ignore[attr-defined] # a slow machine has the block rest
        view.update()
    assert view.epoch != epoch
    assert 'href="https://example.com"' in view.html()


@pytest.mark.parametrize("text", ["<think>\nLet me see.\n</think>\n\nThe answer is 42.", "Let me see.\n</think>\nThe answer is 42."])
def test_think_tags_in_a_stored_answer_are_folded_reasoning(text: str) -> None:
    html = finished_html(uuid.uuid4(), [{"kind": "text", "text": text}])
    reasoning, _, answer = html.partition("</details>")
    assert "Let me see." in reasoning
    assert 'class="reasoning"' in reasoning
    assert "The answer is 42." in answer
    assert "think&gt;" not in html
