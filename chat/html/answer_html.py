"""A growing answer as HTML, and the frames that a reader of an earlier state lacks.

No frames are queued for a reader: a frame is made from the reader's cursor and the present state at the moment it can be sent. A slow
reader skips states, costs no memory, and gets each piece once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from chat.html.json_view import value_card
from chat.html.tool_cards import reasoning_title, tool_card
from chat.streaming.answer import Answer, Event, Part
from webapp.patterns.openai.thinking import split_whole
from webapp.rendering.blocks import Block
from webapp.rendering.growing import GrowingMarkdown

RUN = 24
"""Blocks that share an element on the page: the browser skips those out of view run by run, which keeps long answers cheap."""


def frame(content: str, target: str, swap: str) -> str:
    """Return a websocket frame for htmx: swap `content` into `target`."""
    return json.dumps({"content": content, "target": target, "swap": swap}, ensure_ascii=False)


def key(message_id: UUID) -> str:
    """Return the text that the ids of a message's elements begin with."""
    return message_id.hex[:16]


class PartView(Protocol):
    """One part of an answer on the page. `kind` is its element's class."""

    kind: str

    @property
    def blocks(self) -> list[Block]:
        """Return the blocks; only the last one changes."""
        ...

    @property
    def title(self) -> str:
        """Return the summary of a part that is folded; empty for one that is not."""
        ...

    def feed(self, text: str) -> None:
        """Take in more of the part's text."""
        ...

    def update(self, *, final: bool = False) -> None:
        """Bring the blocks up to the part."""
        ...


class MarkdownView:
    """Text or reasoning: Markdown that grows."""

    def __init__(self, part: Part, anchor: str) -> None:
        self.kind = part.kind
        self.markdown = GrowingMarkdown(anchor=anchor)
        self._part = part
        self._is_final = False

    @property
    def blocks(self) -> list[Block]:
        """Return the blocks of the text."""
        return self.markdown.blocks

    @property
    def title(self) -> str:
        """Return "Thinking…" or how long it took, for reasoning."""
        return reasoning_title(self._part) if self.kind == "reasoning" else ""

    def feed(self, text: str) -> None:
        """Take in more of the text."""
        self.markdown.feed(text)

    def update(self, *, final: bool = False) -> None:
        """Render the text that was fed."""
        if not self._is_final:
            self.markdown.update(final=final)
            self._is_final = final


class CardView:
    """A tool call, or JSON that fits a schema: drawn whole."""

    title = ""

    def __init__(self, part: Part) -> None:
        self.kind = "tool" if part.kind == "tool" else "value"
        self._part = part
        self._drawn = ""
        self.blocks = [Block()]
        self.update()

    def feed(self, text: str) -> None:
        """Ignore the text: the part has it."""

    def update(self, *, final: bool = False) -> None:  # noqa: ARG002 - PartView's signature
        """Draw the card again where it changed."""
        part = self._part
        html = tool_card(part.fields) if part.kind == "tool" else value_card(part.fields, part.text)
        if html != self._drawn:
            self._drawn = html
            self.blocks[0].replace_open(html, "", "")


@dataclass(slots=True)
class Seen:
    """The state of a part that a reader has: the number of blocks, the version of the last one, and the title."""

    count: int
    version: int
    title: str


@dataclass(slots=True)
class Cursor:
    """The state of an answer that a reader has."""

    epoch: int = -1
    parts: list[Seen] = field(default_factory=list)


class AnswerView:
    """The HTML of one growing answer."""

    def __init__(self, message_id: UUID, answer: Answer) -> None:
        self.key = key(message_id)
        self.answer = answer
        self.parts: list[PartView] = []
        self._restarts = 0
        self._redraw()

    @property
    def epoch(self) -> int:
        """Return a number that changes when earlier blocks did: a reader of another epoch needs everything."""
        return self._restarts + sum(view.markdown.redraws for view in self.parts if isinstance(view, MarkdownView))

    def on(self, event: Event) -> None:
        """Follow an event that the answer has folded in."""
        kind = event["k"]
        if kind == "restart":
            self._restarts = self.epoch + 1
            self._redraw()
        elif kind in {"text", "reasoning"}:
            if len(self.answer.parts) > len(self.parts):
                self._finish_last()
                self._add(self.answer.parts[-1])
            self.parts[-1].feed(event["d"])
        elif kind in {"call", "value"}:
            self._finish_last()
            self._add(self.answer.parts[-1])

    def _redraw(self) -> None:
        self.parts = []
        for part in self.answer.parts:
            view = self._add(part)
            view.feed(part.text)
            view.update(final=part.whole)

    def _add(self, part: Part) -> PartView:
        is_card = part.kind == "tool" or "value" in part.fields
        view: PartView = CardView(part) if is_card else MarkdownView(part, f"{self.key}-{len(self.parts)}")
        self.parts.append(view)
        return view

    def _finish_last(self) -> None:
        if self.parts:
            self.parts[-1].update(final=True)

    def update(self, *, final: bool = False) -> None:
        """Bring the HTML up to the answer."""
        for view in self.parts:
            view.update(final=final)

    @property
    def due(self) -> float:
        """Return when (perf_counter) a text that rests after an expensive render wants its next update; 0 for none."""
        last = self._last_markdown
        return last.due if last and last.waiting else 0.0

    @property
    def size(self) -> int:
        """Return the number of blocks."""
        return sum(len(view.blocks) for view in self.parts)

    @property
    def heavy(self) -> bool:
        """Return whether the next update belongs off the event loop."""
        last = self._last_markdown
        return last is not None and last.heavy

    @property
    def _last_markdown(self) -> GrowingMarkdown | None:
        last = self.parts[-1] if self.parts else None
        return last.markdown if isinstance(last, MarkdownView) else None

    def html(self) -> str:
        """Return all parts."""
        return "".join(self._part_html(index) for index in range(len(self.parts)))

    def final_html(self) -> str:
        """Return all parts of a whole answer."""
        self.update(final=True)
        return self.html()

    def _part_html(self, index: int) -> str:
        part = self.parts[index]
        testid = ' data-testid="message-text"' if part.kind == "text" else ""
        runs = self._runs_html(index, 0)
        if part.kind == "reasoning":
            body = f'<div class="reasoning-text" id="c-{self.key}-{index}">{runs}</div>'
            runs = f'<details class="reasoning">{self._title_html(index)}{body}</details>'
        return f'<div class="part part-{part.kind}" id="p-{self.key}-{index}"{testid}>{runs}</div>'

    def _title_html(self, index: int) -> str:
        return f'<summary id="h-{self.key}-{index}">{self.parts[index].title}</summary>'

    def _runs_html(self, index: int, first: int) -> str:
        """Return the blocks from number `first` on, which begins a run."""
        count = len(self.parts[index].blocks)
        runs = ((start // RUN, self._blocks_html(index, start, min(start + RUN, count))) for start in range(first, count, RUN))
        return "".join(f'<div class="run" id="r-{self.key}-{index}-{run}">{html}</div>' for run, html in runs)

    def _blocks_html(self, index: int, first: int, end: int) -> str:
        return "".join(self._block_html(index, number) for number in range(first, end))

    def _block_html(self, index: int, number: int) -> str:
        return f'<div class="block" id="b-{self.key}-{index}-{number}">{self.parts[index].blocks[number].html}</div>'

    def cursor(self) -> Cursor:
        """Return the cursor of a reader who has the present state."""
        return Cursor(self.epoch, [self._seen(part) for part in self.parts])

    def _seen(self, part: PartView) -> Seen:
        return Seen(len(part.blocks), part.blocks[-1].version if part.blocks else -1, part.title)

    def frames(self, cursor: Cursor) -> list[str]:
        """Return the frames that a reader of this epoch lacks; the cursor moves to the present."""
        result: list[str] = []
        for index, seen in enumerate(cursor.parts):
            self._part_frames(result, index, seen)
        fresh = range(len(cursor.parts), len(self.parts))
        if fresh:
            result.append(frame("".join(self._part_html(index) for index in fresh), f"#t-{self.key}", "beforeend"))
        cursor.parts = self.cursor().parts
        return result

    def _part_frames(self, result: list[str], index: int, seen: Seen) -> None:
        part = self.parts[index]
        if part.title != seen.title:
            result.append(frame(self._title_html(index), f"#h-{self.key}-{index}", "outerMorph"))
        blocks = part.blocks
        if seen.count and blocks[seen.count - 1].version != seen.version:
            result.append(self._block_frame(index, seen.count - 1, seen.version))
        begun = min(len(blocks), -(-seen.count // RUN) * RUN)
        if begun > seen.count:
            result.append(frame(self._blocks_html(index, seen.count, begun), f"#r-{self.key}-{index}-{seen.count // RUN}", "beforeend"))
        if len(blocks) > begun:
            container = "c" if part.kind == "reasoning" else "p"
            result.append(frame(self._runs_html(index, begun), f"#{container}-{self.key}-{index}", "beforeend"))

    def _block_frame(self, index: int, number: int, version: int) -> str:
        block = self.parts[index].blocks[number]
        target = f"#b-{self.key}-{index}-{number}"
        appended = block.since(version) if block.tail_selector else None
        if appended is None:
            return frame(self._block_html(index, number), target, "outerMorph")
        return frame(appended, target + block.tail_selector, "beforeend")


def finished_html(message_id: UUID, parts: list[dict[str, Any]]) -> str:
    """Return the HTML of a whole answer, as the page shows it after a reload."""
    answer = Answer()
    answer.parts = [Part.from_json(data) for data in split_reasoning(parts)]
    return AnswerView(message_id, answer).final_html()


def split_reasoning(parts: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the parts of an answer with reasoning in `<think>` tags as parts of its own."""
    result: list[dict[str, Any]] = []
    for part in parts:
        if part["kind"] != "text" or "value" in part:
            result.append(part)
            continue
        reasoning, text = split_whole(part.get("text", ""))
        if reasoning.strip():
            result.append({"kind": "reasoning", "text": reasoning.strip()})
        if text.strip() or not reasoning:
            result.append({**part, "text": text})
    return result
