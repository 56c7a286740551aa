"""What a reader is sent of a growing answer."""

from __future__ import annotations

import json
import re
import uuid

from chat.html.answer_html import RUN, AnswerView, Cursor, key
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
    """What htmx does with a frame, as far as runs and blocks are concerned."""
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
