"""Process chunks as Celery tasks. A task only notifies a worker: the lease in the database decides which worker processes a chunk."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from functools import cache

from batches.execution import chunks
from batches.execution.row_executor import make_executor
from batches.models import Batch, BatchChunk
from webapp.backends.runtime import registry
from webapp.celery import app
from webapp.core import leases
from webapp.core.database import DatabaseThread

CHUNKS_A_TASK = 8
"""Chunks that one task may process, so that its concurrency rarely drops. Then other queued tasks get their turn."""


@cache
def _loop() -> asyncio.Runner:
    """Return one event loop for the life of the worker process, because connections to backends belong to a loop."""
    return asyncio.Runner()


@app.task(acks_late=True, reject_on_worker_lost=True)
def work_on(batch_id: str, chunk_id: int) -> None:
    """Process one chunk, unless it is done or another worker holds it."""
    _loop().run(_work(uuid.UUID(batch_id), chunk_id))


async def _work(batch_id: uuid.UUID, chunk_id: int) -> None:
    database = DatabaseThread("batches")
    try:
        batch = await database.run(_batch, batch_id)
        if batch is None:
            return
        owner = leases.this_worker()
        claims = _claims(batch, chunk_id, owner)
        await chunks.work_through(
            batch, lambda: next(claims, None), chunks.Work(database=database, make_executor=make_executor, owner=owner)
        )
        await registry.flush()
    finally:
        await database.aclose()


def _claims(batch: Batch, chunk_id: int, owner: str) -> Iterator[BatchChunk]:
    """Claim this chunk, and then free ones while its last rows are running; None if it is done or another worker holds it."""
    chunk = chunks.claim_this(batch, chunk_id, owner)
    count = 0
    while chunk is not None:
        yield chunk
        count += 1
        chunk = chunks.claim_next(batch, owner) if count < CHUNKS_A_TASK else None


def _batch(batch_id: uuid.UUID) -> Batch | None:
    found = Batch.objects.filter(pk=batch_id, status=Batch.Status.IN_PROGRESS)
    return found.select_related("input_file", "user").first()
