"""The event logs of the responses that run in this process: many small writes, few transactions.

The log in the database is the record. A client that streams a background response gets only events that are committed, so that it can
resume from any of them in any process.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from weakref import WeakKeyDictionary

from webapp.core import threads
from webapp.core.database import DB_UNAVAILABLE, in_database
from webapp.gateway.models import StoredResponse
from webapp.gateway.responses import records
from webapp.patterns.types import Json

logger = logging.getLogger("patchbay.gateway")
FLUSH_SECONDS = 0.25
PROMPT_FLUSH_SECONDS = 0.03
"""For background responses, whose clients read from the log."""
RETRY_SECONDS = 1.0


class EventLog:
    """The log of one running response.

    Args:
        row: the response, with the fence it was claimed with.
        first: the number of the first event that is not in the database yet.
        on_lost: called when another process has taken the response over.
    """

    def __init__(self, row: StoredResponse, *, first: int = 0, on_lost: Callable[[], None] | None = None) -> None:
        self.row = row
        self.on_lost = on_lost
        self.prompt = row.background
        self._next = first
        self._pending: list[bytes] = []
        self.changed = asyncio.Event()
        """Set when events were written; each write has an event of its own."""

    def append(self, events: bytes) -> None:
        """Append events; they are written soon."""
        self._pending.append(events)
        LogWriter.current().wake(self)

    def take(self) -> tuple[int, bytes]:
        """Return the events that are not written yet and the number of the first; the caller writes them, or gives them back."""
        first, events = self._next, b"".join(self._pending)
        self._pending.clear()
        self._next += records.count_events(events)
        return first, events

    def give_back(self, first: int, events: bytes) -> None:
        """Put events back that could not be written."""
        self._pending.insert(0, events)
        self._next = first

    def notify(self) -> None:
        """Wake the readers: there are new events in the database."""
        self.changed.set()
        self.changed = asyncio.Event()

    async def finish(self, response: Json) -> None:
        """Write the last events and how the response ended, in one transaction.

        Raises:
            LeaseLost: another process has taken the response over.
        """
        writer = LogWriter.current()
        writer.forget(self)
        async with writer.lock:  # a flush that is under way comes first
            first, events = self.take()
            while True:
                try:
                    await in_database(records.finish_response, self.row, response, first=first, events=events)
                    break
                except DB_UNAVAILABLE as error:
                    logger.error("Response %s waits for the database: %s", self.row.pk, error)  # noqa: TRY400 - every second
                    await asyncio.sleep(RETRY_SECONDS)
        self.notify()


class LogWriter:
    """Writes the logs of one event loop. Its task runs while there is something to write."""

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self._dirty: dict[int, EventLog] = {}
        self._task: asyncio.Task[None] | None = None

    @classmethod
    def current(cls) -> LogWriter:
        """Return the writer of the running event loop."""
        return _writers.setdefault(asyncio.get_running_loop(), cls())

    def wake(self, log: EventLog) -> None:
        """Have a log written soon."""
        self._dirty[id(log)] = log
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    def forget(self, log: EventLog) -> None:
        """Leave a log alone: its end is written by itself."""
        self._dirty.pop(id(log), None)

    async def _run(self) -> None:
        async with threads.shared():
            while self._dirty:
                prompt = any(log.prompt for log in self._dirty.values())
                await asyncio.sleep(PROMPT_FLUSH_SECONDS if prompt else FLUSH_SECONDS)
                if not await self._flush():
                    await asyncio.sleep(RETRY_SECONDS)

    async def _flush(self) -> bool:
        """Write pending events; return whether the database accepted them."""
        async with self.lock:
            logs, self._dirty = list(self._dirty.values()), {}
            pending = [(log, *log.take()) for log in logs]
            try:
                lost = await in_database(records.append_to_logs, [(log.row, first, events) for log, first, events in pending])
            except DB_UNAVAILABLE as error:
                logger.error("The event log of responses waits for the database: %s", error)  # noqa: TRY400 - it may come every second
                for log, first, events in pending:
                    log.give_back(first, events)
                    self._dirty[id(log)] = log
                return False
        for log in logs:
            log.notify()
            if log.row.pk in lost and log.on_lost:
                log.on_lost()
        return True


_writers: WeakKeyDictionary[asyncio.AbstractEventLoop, LogWriter] = WeakKeyDictionary()
