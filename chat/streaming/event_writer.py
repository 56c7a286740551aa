"""Write the events of all generations of this process from one thread: many small changes, few transactions, no lock contention."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from django.db import connections, transaction

from chat.models import Generation, LogRow
from chat.streaming.answer import Event, merged
from webapp.core.database import DB_UNAVAILABLE

logger = logging.getLogger("patchbay.chat")
T = TypeVar("T")
INTERVAL = 0.25
AT_ONCE = 8
"""Functions that share a transaction: a commit costs as much as a third of what they write."""


@dataclass(slots=True)
class _Job:
    run: Callable[[], Any]
    future: asyncio.Future[Any]


class Journal:
    """The events of one generation that are not in the database yet, and the number of its last row."""

    def __init__(self, generation_id: UUID) -> None:
        self.generation_id = generation_id
        self.seq = 0
        self.pending: deque[Event] = deque()
        self.unsaved: list[LogRow] = []

    def rows(self) -> list[LogRow]:
        """Return the rows to write now. They stay until they are saved."""
        events: list[Event] = []
        while self.pending:
            events.append(self.pending.popleft())
        if events:
            self.seq += 1
            self.unsaved.append(LogRow(generation_id=self.generation_id, seq=self.seq, events=merged(events)))
        return self.unsaved


class Writer:
    """The writer thread. `call` runs a function there at once, in one transaction with those that wait.

    Journals are written every `interval` seconds.

    Args:
        written: called on the event loop with the ids of the generations whose rows were committed.
        lost: called on the event loop with the ids of the generations that another process has ended.
        tick: called on the thread once per interval, after the rows; its errors are logged.
    """

    def __init__(
        self,
        *,
        written: Callable[[list[UUID]], None],
        lost: Callable[[list[UUID]], None],
        tick: Callable[[], None],
        interval: float = INTERVAL,
    ) -> None:
        self._written, self._lost, self._tick, self._interval = written, lost, tick, interval
        self._loop = asyncio.get_running_loop()
        self._jobs: deque[_Job] = deque()
        self._journals: dict[UUID, Journal] = {}
        self._wake = threading.Event()
        self._stopping = False
        self._due = time.monotonic() + interval
        self._thread = threading.Thread(target=self._run, name="chat-writer", daemon=True)

    def start(self) -> None:
        """Start the thread that writes."""
        self._thread.start()

    async def stop(self) -> None:
        """Write what is pending and end the thread."""
        self._stopping = True
        self._wake.set()
        await asyncio.to_thread(self._thread.join)

    async def call(self, run: Callable[[], T]) -> T:
        """Run `run` on the writer's thread, in a transaction, ahead of the next interval.

        It runs again if another function of its transaction fails, so it may only write to the database.
        """
        future: asyncio.Future[T] = self._loop.create_future()
        self._jobs.append(_Job(run, future))
        self._wake.set()
        return await future

    def add(self, journal: Journal) -> None:
        """Write the events of a generation from now on."""
        self._journals[journal.generation_id] = journal

    def remove(self, generation_id: UUID) -> None:
        """Stop writing the events of a generation."""
        self._journals.pop(generation_id, None)

    def _run(self) -> None:
        while not self._stopping or self._jobs:
            self._wake.wait(max(0.0, self._due - time.monotonic()))
            self._wake.clear()
            self._turn()
        self._finish()

    def _turn(self) -> None:
        """Run the waiting jobs, and write the journals if the interval is over."""
        while self._jobs:
            self._do_together([self._jobs.popleft() for _ in range(min(len(self._jobs), AT_ONCE))])
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + self._interval
            self._guarded(self._write, list(self._journals.values()))
            self._guarded(self._tick)

    def _finish(self) -> None:
        self._guarded(self._write, list(self._journals.values()))
        connections.close_all()

    def _do_together(self, jobs: Sequence[_Job]) -> None:
        """Run jobs in one transaction. If one of them fails, nothing is written, and each runs by itself."""
        if len(jobs) > 1:
            try:
                with transaction.atomic():
                    results = [job.run() for job in jobs]
            except Exception as error:  # noqa: BLE001 - the job that failed fails again
                logger.debug("%d jobs run by themselves: %s", len(jobs), error)
            else:
                for job, result in zip(jobs, results, strict=True):
                    self._settle(job.future.set_result, result, job.future)
                return
        for job in jobs:
            self._do(job)

    def _do(self, job: _Job) -> None:
        try:
            with transaction.atomic():
                result = job.run()
        except Exception as error:  # noqa: BLE001 - it is raised where `call` is awaited
            self._settle(job.future.set_exception, error, job.future)
        else:
            self._settle(job.future.set_result, result, job.future)

    def _settle(self, how: Callable[[Any], None], value: Any, future: asyncio.Future[Any]) -> None:
        self._loop.call_soon_threadsafe(lambda: None if future.done() else how(value))

    def _guarded(self, run: Callable[..., None], *arguments: Any) -> None:
        """Run a function; log a failure and retry it in the next interval. The thread serves every generation, so nothing may end it."""
        try:
            run(*arguments)
        except DB_UNAVAILABLE as error:
            logger.error("The chat log waits for the database: %s", error)  # noqa: TRY400 - it may repeat every second
            connections.close_all()
        except Exception:
            logger.exception("The chat log could not be written; trying again")
            connections.close_all()

    def _write(self, journals: Iterable[Journal]) -> None:
        dirty = [journal for journal in journals if journal.rows()]
        try:
            self._insert(dirty)
        except DB_UNAVAILABLE:
            raise
        except Exception:
            logger.exception("The database refused rows of the chat log: each answer's by themselves")
            for journal in dirty:
                self._insert_alone(journal)

    def _insert_alone(self, journal: Journal) -> None:
        """Drop the rows that the database rejects, so that they do not block others. The answer itself is stored at its end."""
        try:
            self._insert([journal])
        except DB_UNAVAILABLE:
            raise
        except Exception:
            logger.exception("%d rows of the log of %s are left out", len(journal.unsaved), journal.generation_id)
            journal.unsaved = []

    def _insert(self, dirty: list[Journal]) -> None:
        if not dirty:
            return
        with transaction.atomic():
            running = self._still_running(dirty)
            rows = [row for journal in dirty if journal.generation_id in running for row in journal.unsaved]
            LogRow.objects.bulk_create(rows, ignore_conflicts=True)
        for journal in dirty:
            journal.unsaved = []
        self._loop.call_soon_threadsafe(self._written, [*running])
        if lost := [journal.generation_id for journal in dirty if journal.generation_id not in running]:
            self._loop.call_soon_threadsafe(self._lost, lost)

    def _still_running(self, journals: list[Journal]) -> dict[UUID, bool]:
        """Return those that no other process has ended, and lock them: after a long sleep of this process, others took it for dead."""
        ids = [journal.generation_id for journal in journals]
        rows = Generation.objects.select_for_update(no_key=True).filter(id__in=ids, running=True).order_by("id")
        return dict(rows.values_list("id", "running"))
