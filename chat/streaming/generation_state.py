"""Hold the state of a generation in this process: the answer so far, its HTML, and its readers."""

from __future__ import annotations

import asyncio
import time
from typing import Any, Protocol
from uuid import UUID

from django.conf import settings

from chat.generation.elicitation import PendingQuestion
from chat.html.answer_html import AnswerView
from chat.services import Outcome
from chat.streaming.answer import Answer, Event
from chat.streaming.event_writer import Journal
from webapp.patterns.errors import PatternError
from webapp.patterns.sanitize import clean

FRAME_SECONDS = 0.016
"""Minimum time between two frames to a reader. The first frame after a pause leaves at once."""
BLOCK_SECONDS = 0.00008
"""Added to this time for each block of the answer: a frame's cost in the browser grows with the page, but the total must not."""

SMALL_ANSWER = 20
"""Blocks of an answer that are put together faster than a thread is asked to."""


class AnswerTooLong(PatternError):
    """Report that an answer has more characters than the chat keeps."""


class Reader(Protocol):
    """Read the events of a generation as they arrive."""

    def wake(self) -> None:
        """Learn that there are new events."""


class GenerationState:
    """One running generation.

    Args:
        mine: whether this process runs it; otherwise its events come from the log in the database.
        base: the parts that a continued answer had before.
    """

    def __init__(self, *, generation_id: UUID, message_id: UUID, conversation_id: UUID, mine: bool, base: list[dict[str, Any]]) -> None:
        self.id = generation_id
        self.message_id = message_id
        self.conversation_id = conversation_id
        self.mine = mine
        self.answer = Answer(base)
        self.view = AnswerView(message_id, self.answer)
        self.journal = Journal(generation_id)
        self.readers: set[Reader] = set()
        self.note = ""
        self.note_version = 0
        self.finished_article: str | None = None
        self.task: asyncio.Task[None] | None = None
        self.stopped_by: str = ""
        self.ending = False
        self.outcome = Outcome()
        self.pulling = asyncio.Lock()
        self.approvals: dict[str, asyncio.Future[bool]] = {}
        self.questions: dict[str, PendingQuestion] = {}
        self._last_flush = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._render: asyncio.Task[None] | None = None
        self._held: list[Event] = []
        self._closing = False
        self._left: int = settings.CHAT_ANSWER_CHARS - sum(len(part.get("text", "")) for part in base)

    @property
    def finished(self) -> bool:
        """Return whether the generation has ended."""
        return self.finished_article is not None

    def apply(self, event: Event) -> None:
        """Apply an event. Readers see it at once if the last frame is old enough.

        Characters that a database rejects are removed first: a single NUL byte would block log writes for every generation.

        Raises:
            AnswerTooLong: the answer of this process has all the characters that an answer may have; the event is dropped.
        """
        if self.mine:
            size = len(event.get("d", ""))
            if size > self._left:
                raise AnswerTooLong(f"The answer was cut: an answer may have {settings.CHAT_ANSWER_CHARS:,} characters.")
            self._left -= size
            event = event if "d" in event and "\0" not in event["d"] else clean(event)
            self.journal.pending.append(event)
        if self._render:
            self._held.append(event)  # another thread is rendering the view
            return
        self.answer.apply(event)
        self.view.on(event)
        self.touch()

    @property
    def readable(self) -> bool:
        """Return whether the view may be read now. Its readers are woken when it may be read again."""
        return self._render is None and not self._closing

    def say(self, note: str) -> None:
        """Show a status line below the answer (which backend is tried), replacing the last one."""
        if note != self.note:
            self.note = note
            self.note_version += 1
            self._wake()  # not counted as a frame: the first word must not wait for it

    def touch(self) -> None:
        """Schedule a frame: now, or when the frame interval is over."""
        if self._timer or self._render or self._closing or self.finished:
            return
        wait = self._last_flush + FRAME_SECONDS + BLOCK_SECONDS * self.view.size - time.perf_counter()
        if wait <= 0:
            self._flush()
        else:
            self._timer = asyncio.get_running_loop().call_later(wait, self._flush)

    def finish(self, article: str) -> None:
        """End the generation. Readers get `article` in its place, or read the log again if it is empty."""
        self.finished_article = article
        if self._timer:
            self._timer.cancel()
            self._timer = None
        self._wake()

    async def closing_html(self) -> str:
        """Return the HTML of the complete answer. No more events are applied, since another thread renders the view."""
        while self._render:
            await self._render
        self.answer.settle()
        self._closing = True
        if self.view.heavy or self.view.size > SMALL_ANSWER:
            return await asyncio.to_thread(self.view.final_html)
        return self.view.final_html()

    def _flush(self) -> None:
        self._timer = None
        if self.finished or self._closing:
            return
        if self.view.heavy:
            self._render = asyncio.ensure_future(self._render_aside())
            return
        self.view.update()
        self._flushed()

    async def _render_aside(self) -> None:
        """Render a long open block in a thread, so that other conversations are not delayed."""
        try:
            await asyncio.to_thread(self.view.update)
        finally:
            self._render = None
            held, self._held = self._held, []
            for event in held:
                self.answer.apply(event)
                self.view.on(event)
        self._flushed()
        if held:
            self.touch()

    def _flushed(self) -> None:
        self._last_flush = time.perf_counter()
        self._wake()
        due = self.view.due
        if due and not self._timer and not self.finished:
            self._timer = asyncio.get_running_loop().call_later(max(FRAME_SECONDS, due - time.perf_counter()), self._flush)

    def _wake(self) -> None:
        for reader in tuple(self.readers):
            reader.wake()
