"""An answer as HTML that grows, and what a reader who saw an earlier state still lacks.

Nothing is queued for a reader: a frame is made from the reader's cursor and the present state at the moment it can be sent. A slow reader
skips states, costs no memory, and gets no piece twice.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape
from typing import Any, Protocol
from uuid import UUID

from chat.html.json_view import value_card
from chat.html.tool_cards import reasoning_head, reasoning_tail, tool_card
from chat.streaming.answer import Answer, Event, Part
from webapp.rendering.blocks import Block, GrowingMarkdown, needs_whole
from webapp.rendering.markdown import render


def frame(content: str, target: str, swap: str) -> str:
    """A websocket frame for htmx: swap `content` into `target`."""
    return json.dumps({"content": content, "target": target, "swap": swap}, ensure_ascii=False)


RUN = 24
"""Blocks that share an element on the page: what is out of view is skipped by the browser run by run, so that long answers stay cheap."""


def key(message_id: UUID) -> str:
    """What the ids of a message's elements are made of."""
    return message_id.hex[:16]


class PartView(Protocol):
    """One part of an answer on the page. `kind` is its element's class."""

    kind: str

    @property
    def blocks(self) -> list[Block]: ...

    def update(self, *, final: bool = False) -> None: ...


class TextView:
    kind = "text"

    def __init__(self) -> None:
        self.markdown = GrowingMarkdown()
        self._final = False

    @property
    def blocks(self) -> list[Block]:
        return self.markdown.blocks

    def update(self, *, final: bool = False) -> None:
        if not self._final:
            self.markdown.update(final=final)
            self._final = final


class ReasoningView:
    kind = "reasoning"

    def __init__(self, part: Part) -> None:
        self._part = part
        self._new: list[str] = []
        self._closed = False
        self.blocks = [Block()]
        self.blocks[0].replace_open(reasoning_head(part), reasoning_tail(), ">details>div")

    def feed(self, text: str) -> None:
        self._new.append(text)

    def update(self, *, final: bool = False) -> None:
        block = self.blocks[0]
        if self._new:
            block.append(escape("".join(self._new), quote=False))
            self._new.clear()
        if (final or self._part.whole) and not self._closed:
            self._closed = True
            block.replace_open(reasoning_head(self._part) + escape(self._part.text, quote=False), reasoning_tail(), ">details>div")


class ToolView:
    kind = "tool"

    def __init__(self, part: Part) -> None:
        self._part = part
        self._drawn = ""
        self.blocks = [Block()]
        self.update()

    def update(self, *, final: bool = False) -> None:  # noqa: ARG002 - PartView's signature
        html = tool_card(self._part.fields)
        if html != self._drawn:
            self._drawn = html
            self.blocks[0].replace_open(html, "", "")


class ValueView:
    """JSON that fits a schema: it comes whole."""

    kind = "value"

    def __init__(self, part: Part) -> None:
        self.blocks = [Block()]
        self.blocks[0].replace_open(value_card(part.fields, part.text), "", "")

    def update(self, *, final: bool = False) -> None:
        """Nothing: it does not change."""


@dataclass(slots=True)
class Cursor:
    """What a reader has: the epoch, and for each part the number of blocks and the version of the last."""

    epoch: int = -1
    parts: list[tuple[int, list[int]]] = field(default_factory=list)


class AnswerView:
    """The HTML of one growing answer.

    `epoch` counts redraws of the whole; a cursor of another epoch needs everything anew.
    """

    def __init__(self, message_id: UUID, answer: Answer) -> None:
        self.key = key(message_id)
        self.answer = answer
        self.epoch = 0
        self.parts: list[PartView] = []
        self._redraw()

    def on(self, event: Event) -> None:
        """Follow an event that the answer has folded in."""
        kind = event["k"]
        if kind == "restart":
            self._redraw()
            self.epoch += 1
        elif kind in {"text", "reasoning"}:
            if len(self.answer.parts) > len(self.parts):
                self._finish_last()
                self.parts.append(_view_of(self.answer.parts[-1]))
            _feed(self.parts[-1], event["d"])
        elif kind in {"call", "value"}:
            self._finish_last()
            self.parts.append(_view_of(self.answer.parts[-1]))

    def _redraw(self) -> None:
        self.parts = []
        for part in self.answer.parts:
            view = _view_of(part)
            if part.kind != "tool":
                _feed(view, part.text)
            view.update(final=part.whole)
            self.parts.append(view)

    def _finish_last(self) -> None:
        if self.parts:
            self.parts[-1].update(final=True)

    def update(self, *, final: bool = False) -> None:
        """Bring the HTML up to the answer."""
        for view in self.parts:
            view.update(final=final)

    @property
    def due(self) -> float:
        """When (perf_counter) a text that rests after a dear render wants its next update; 0 for none."""
        last = self.parts[-1] if self.parts else None
        return last.markdown.due if isinstance(last, TextView) and last.markdown.waiting else 0.0

    @property
    def size(self) -> int:
        """How many blocks it has."""
        return sum(len(view.blocks) for view in self.parts)

    @property
    def heavy(self) -> bool:
        last = self.parts[-1] if self.parts else None
        return isinstance(last, TextView) and last.markdown.heavy

    def html(self) -> str:
        """All parts."""
        return "".join(self._part_html(index) for index in range(len(self.parts)))

    def final_html(self) -> str:
        """All parts of a whole answer; text whose blocks depend on each other (footnotes) is rendered in one."""
        self.update(final=True)
        for part, view in zip(self.answer.parts, self.parts, strict=True):
            if isinstance(view, TextView) and needs_whole(part.text):
                whole = Block()
                whole.replace(render(part.text, anchor=self.key))
                view.markdown.blocks = [whole]
        return self.html()

    def _part_html(self, index: int) -> str:
        part = self.parts[index]
        testid = ' data-testid="message-text"' if part.kind == "text" else ""
        return f'<div class="part part-{part.kind}" id="p-{self.key}-{index}"{testid}>{self._runs_html(index, 0)}</div>'

    def _runs_html(self, index: int, first: int) -> str:
        """The blocks from number `first` on, which begins a run."""
        count = len(self.parts[index].blocks)
        runs = ((start // RUN, self._blocks_html(index, start, min(start + RUN, count))) for start in range(first, count, RUN))
        return "".join(f'<div class="run" id="r-{self.key}-{index}-{run}">{html}</div>' for run, html in runs)

    def _blocks_html(self, index: int, first: int, end: int) -> str:
        return "".join(self._block_html(index, number) for number in range(first, end))

    def _block_html(self, index: int, number: int) -> str:
        return f'<div class="block" id="b-{self.key}-{index}-{number}">{self.parts[index].blocks[number].html}</div>'

    def cursor(self) -> Cursor:
        """The cursor of a reader who has the present state."""
        return Cursor(self.epoch, [(len(part.blocks), [block.version for block in part.blocks[-1:]]) for part in self.parts])

    def frames(self, cursor: Cursor) -> list[str]:
        """What a reader of this epoch lacks; the cursor moves to the present."""
        result: list[str] = []
        for index, (count, versions) in enumerate(cursor.parts):
            self._part_frames(result, index, count, versions)
        fresh = range(len(cursor.parts), len(self.parts))
        if fresh:
            result.append(frame("".join(self._part_html(index) for index in fresh), f"#t-{self.key}", "beforeend"))
        cursor.parts = self.cursor().parts
        return result

    def _part_frames(self, result: list[str], index: int, count: int, versions: list[int]) -> None:
        blocks = self.parts[index].blocks
        if versions and blocks[count - 1].version != versions[0]:
            result.append(self._block_frame(index, count - 1, versions[0]))
        begun = min(len(blocks), -(-count // RUN) * RUN)
        if begun > count:
            result.append(frame(self._blocks_html(index, count, begun), f"#r-{self.key}-{index}-{count // RUN}", "beforeend"))
        if len(blocks) > begun:
            result.append(frame(self._runs_html(index, begun), f"#p-{self.key}-{index}", "beforeend"))

    def _block_frame(self, index: int, number: int, version: int) -> str:
        block = self.parts[index].blocks[number]
        target = f"#b-{self.key}-{index}-{number}"
        appended = block.since(version) if block.tail_selector else None
        if appended is None:
            return frame(self._block_html(index, number), target, "outerMorph")
        return frame(appended, target + block.tail_selector, "beforeend")


def _view_of(part: Part) -> PartView:
    if part.kind == "tool":
        return ToolView(part)
    if "value" in part.fields:
        return ValueView(part)
    return ReasoningView(part) if part.kind == "reasoning" else TextView()


def _feed(view: PartView, text: str) -> None:
    if isinstance(view, TextView):
        view.markdown.feed(text)
    elif isinstance(view, ReasoningView):
        view.feed(text)


def finished_html(message_id: UUID, parts: list[dict[str, Any]]) -> str:
    """The HTML of a whole answer, as the page shows it after a reload."""
    answer = Answer()
    answer.parts = [Part.from_json(data) for data in parts]
    return AnswerView(message_id, answer).final_html()
