"""Process the rows of a local batch. The embedded runner and Celery's workers use the same function.

A worker claims the next chunk while rows of earlier ones are still running, so the concurrency does not drop at the end of a chunk. Only
rows without a result are sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from django.db import Error
from django.db.models import QuerySet
from django.utils import timezone

from batches.execution.result_writer import ResultWriter
from batches.execution.row_executor import RowExecutor, RowTask
from batches.models import Batch, BatchChunk, BatchRow
from webapp.core import bulk, leases
from webapp.core.database import DatabaseThread
from webapp.patterns.batch import parallel
from webapp.patterns.errors import LimitReached
from webapp.patterns.fallback.throttle import Clock, Retry
from webapp.patterns.types import Response

logger = logging.getLogger("patchbay.batches")
WATCH_SECONDS = 0.5
RETRY = Retry(attempts=5, patience=float("inf"))
"""Rate limits are waited out until the batch expires. Failures are retried four times."""

Claim = Callable[[], BatchChunk | None]


@dataclass
class Work:
    """The tools for processing chunks. Tests replace the clocks."""

    database: DatabaseThread
    make_executor: Callable[[Batch], RowExecutor]
    owner: str = field(default_factory=leases.this_worker)
    clock: Clock = field(default_factory=Clock)
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


def claim_next(batch: Batch, owner: str) -> BatchChunk | None:
    """Claim the first free chunk of a batch that is in progress."""
    return leases.claim(_open_chunks(batch), owner=owner)


def claim_this(batch: Batch, chunk_id: int, owner: str) -> BatchChunk | None:
    """Claim this chunk; None if it is done or another worker holds it."""
    return leases.claim(_open_chunks(batch).filter(pk=chunk_id), owner=owner)


def _open_chunks(batch: Batch) -> QuerySet[BatchChunk]:
    return batch.chunks.filter(done=False, batch__status=Batch.Status.IN_PROGRESS).order_by("first")


def open_rows(chunk: BatchChunk) -> list[tuple[int, str, int, int]]:
    """Return (number, custom_id, offset, length) of the chunk's rows without a result."""
    rows = BatchRow.objects.filter(batch_id=chunk.batch_id, number__gte=chunk.first, number__lte=chunk.last, state=BatchRow.State.PENDING)
    return bulk.fetch(rows.order_by("number").values_list("number", "custom_id", "offset", "length"))


async def work_through(batch: Batch, claim: Claim, work: Work) -> None:
    """Claim chunks until none is left, send their open rows, and store the answers. Stop when the batch is cancelled or expires."""
    executor = work.make_executor(batch)
    keeper = ResultWriter(batch, work.database, sleep=work.sleep)
    running = asyncio.ensure_future(_send_all(batch, claim, work, executor, keeper))
    watching = asyncio.ensure_future(_until_it_stops(batch, work))
    keeping = asyncio.ensure_future(keeper.run())
    try:
        await asyncio.wait({running, watching, keeping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _end(running, watching, keeping)
        await keeper.give_back()
        executor.close()
    for task in (running, watching, keeping):
        if not task.cancelled() and (error := task.exception()):
            raise error


async def _end(*tasks: asyncio.Future[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _send_all(batch: Batch, claim: Claim, work: Work, executor: RowExecutor, keeper: ResultWriter) -> None:
    jobs = _jobs(claim, work, keeper)
    outcomes = parallel.run(jobs, _Worker(executor, keeper), concurrency=batch.concurrency, ordered=False, retry=RETRY, clock=work.clock)
    async with contextlib.aclosing(outcomes):
        async for outcome in outcomes:
            if not isinstance(outcome.error, _NotOurs):
                await keeper.keep(outcome.item.chunk_id, executor.result(outcome))
    await keeper.flush()


class _NotOurs(Exception):
    """Report that the lease of the chunk was lost, so its rows are not sent."""


@dataclass(frozen=True)
class _Worker:
    executor: RowExecutor
    keeper: ResultWriter

    async def __call__(self, job: RowTask) -> Response:
        if not self.keeper.holds(job.chunk_id):
            raise _NotOurs
        try:
            return await self.executor(job)
        except LimitReached as error:
            self.keeper.waits(error)
            raise


async def _jobs(claim: Claim, work: Work, keeper: ResultWriter) -> AsyncIterator[RowTask]:
    while (chunk := await work.database.run(claim)) is not None:
        rows = await work.database.run(open_rows, chunk)
        keeper.hold(chunk, len(rows))
        for number, custom_id, offset, length in rows:
            yield RowTask(chunk.pk, number, custom_id, offset, length)


async def _until_it_stops(batch: Batch, work: Work) -> None:
    while await _goes_on(batch, work):
        await work.sleep(WATCH_SECONDS)


async def _goes_on(batch: Batch, work: Work) -> bool:
    try:
        return await work.database.run(_in_progress, batch)
    except Error:
        return True  # the result writer pauses the batch and reports it


def _in_progress(batch: Batch) -> bool:
    return Batch.objects.filter(pk=batch.pk, status=Batch.Status.IN_PROGRESS, expires_at__gt=timezone.now()).exists()
