"""Write results behind: collect them for a tenth of a second, write one transaction per chunk, and renew the leases.

If nothing can be written (disk full, database down), the results stay in memory, the batch shows the reason, and no more rows are sent
until writing works again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from django.db import Error

from batches.execution import pause_reasons, results
from batches.execution.results import RowResult
from batches.models import Batch, BatchChunk
from webapp.core.database import DatabaseThread
from webapp.core.leases import HEARTBEAT_SECONDS, LEASE, LeaseLost, release
from webapp.patterns.errors import LimitReached

logger = logging.getLogger("patchbay.batches")
FLUSH_SECONDS = 0.1
RETRY_SECONDS = 2.0
MOST_WAITING = 1024
LAST_SECONDS = 3.0
WORTH_SAYING_SECONDS = 5.0
GOES_ON = "The batch continues by itself as fast as the limit allows."
LEASE_SECONDS = LEASE.total_seconds()


@dataclass(slots=True, eq=False)
class Held:
    """A chunk that this process holds. `open` is the number of rows without a result; `waiting` are the unwritten results."""

    chunk: BatchChunk
    open: int
    waiting: list[RowResult] = field(default_factory=list)
    renewed: float = 0.0


class ResultWriter:
    """Store the results of the chunks that one process works on, for one batch."""

    def __init__(self, batch: Batch, database: DatabaseThread, *, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._batch = batch
        self._database = database
        self._sleep = sleep
        self._held: dict[int, Held] = {}
        self._room = asyncio.Event()
        self._room.set()
        self._writing = asyncio.Lock()
        self._now = asyncio.get_running_loop().time
        self._limit: LimitReached | None = None
        self._limited_until = 0.0
        self._said = False

    def hold(self, chunk: BatchChunk, rows: int) -> None:
        """Take over a claimed chunk with `rows` open rows."""
        self._held[chunk.pk] = Held(chunk, rows, renewed=self._now())

    def holds(self, chunk_id: int) -> bool:
        """Return whether the chunk's lease is still valid as far as this process knows.

        After a long stop, a process must not send its rows.
        """
        held = self._held.get(chunk_id)
        return held is not None and self._now() - held.renewed < LEASE_SECONDS

    async def keep(self, chunk_id: int, result: RowResult) -> None:
        """Queue a result for writing. Waits while too many results cannot be written."""
        await self._room.wait()
        held = self._held.get(chunk_id)
        if held is None:
            return  # the lease is lost, so its new holder sends the row
        held.open -= 1
        held.waiting.append(result)
        if sum(len(other.waiting) for other in self._held.values()) >= MOST_WAITING:
            self._room.clear()

    def waits(self, limit: LimitReached) -> None:
        """Send nothing until the limit has room."""
        self._limit, self._limited_until = limit, self._now() + (limit.retry_after or 0)

    async def run(self) -> None:
        """Write behind until cancelled."""
        while True:
            await self._sleep(FLUSH_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write all queued results; return when they are written, however long it takes."""
        async with self._writing:
            for held in list(self._held.values()):
                await self._write(held)
            await self._say_what_it_waits_for()
            self._room.set()

    async def _say_what_it_waits_for(self) -> None:
        """Show on the batch's page which limit it waits for, if the wait is long enough to read. The next write clears it."""
        left = self._limited_until - self._now()
        if self._limit and not self._said and left >= WORTH_SAYING_SECONDS:
            why = f"{self._limit.rule[0].upper()}{self._limit.rule[1:]}. {GOES_ON}"
            with contextlib.suppress(Error):  # the next write fails too and reports it
                await self._database.run(pause_reasons.note, self._batch.pk, why)
                self._said = True

    async def _write(self, held: Held) -> None:
        if not held.waiting and held.open and self._now() - held.renewed < HEARTBEAT_SECONDS:
            return
        while not await self._written(held):
            await self._sleep(RETRY_SECONDS)

    async def _written(self, held: Held) -> bool:
        batch, waiting, finished = list(held.waiting), len(held.waiting), held.open == 0
        began = self._now()
        try:
            await self._database.run(results.commit, work=held.chunk, results=batch, finished=finished)
        except LeaseLost:
            logger.warning("batch %s: the lease on %s was lost; its rows are another worker's now", self._batch.api_id, held.chunk)
            self._held.pop(held.chunk.pk, None)
            return True
        except Error as error:
            self._room.clear()
            await pause_reasons.pause(self._database, self._batch, error)
            return False
        held.renewed, self._said = began, False
        del held.waiting[:waiting]
        if finished:
            self._held.pop(held.chunk.pk, None)
        pause_reasons.over(self._batch)
        return True

    async def give_back(self) -> None:
        """Release the unfinished chunks after a last attempt to write. Unwritten rows are sent again later."""
        with contextlib.suppress(TimeoutError, Error):
            async with asyncio.timeout(LAST_SECONDS):
                await self.flush()
                for held in self._held.values():
                    await self._database.run(release, held.chunk, sent_at=None)
        self._held.clear()
