"""Run the ingestion workers of a server process: new documents, indexes that are being built, summaries, and deletions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from search import deletion, enrichment, ingestion, leases, worker_events
from search.index import embed_index, rebuild
from search.sources import schedule
from search.vector_stores.services import delete_expired
from webapp.core.background import run_tasks
from webapp.core.database import in_database

WORKERS = 2
"""While one document is embedded, the next is parsed."""
EXPIRY_SECONDS = 600.0


@asynccontextmanager
async def service() -> AsyncGenerator[None, None]:
    """Run the workers as a background service. Unfinished work is released and continues at the next start."""
    workers = {f"documents {number}": partial(_forever, _next_document) for number in range(WORKERS)}
    indexes, descriptions = partial(_forever, _next_index), partial(_forever, _next_description)
    deletions = partial(_forever, partial(in_database, deletion.delete_next))
    work: dict[str, Callable[[], Awaitable[object]]] = {**workers, "indexes": indexes, "descriptions": descriptions}
    work |= {"deletions": deletions, "expiry": _expire, "sources": partial(_forever, _next_source)}
    work |= {"released": partial(in_database, leases.release_dead), "comparing": partial(in_database, embed_index.reconcile)}
    async with run_tasks(**work):
        yield


async def _expire() -> None:
    """Delete the documents of expired collections, again and again."""
    while True:
        await in_database(delete_expired)
        await asyncio.sleep(EXPIRY_SECONDS)


async def _forever(step: Callable[[], Awaitable[bool]]) -> None:
    """Run step after step, and wait while there is nothing to do."""
    while True:
        if not await step():
            await worker_events.wait()


async def _next_document() -> bool:
    document = await in_database(ingestion.claim)
    if document is not None:
        await ingestion.ingest(document)
    return document is not None


async def _next_index() -> bool:
    index = await in_database(rebuild.claim)
    if index is not None:
        await rebuild.build(index)
    return index is not None


async def _next_source() -> bool:
    source = await in_database(schedule.claim)
    if source is not None:
        await schedule.read(source)
    return source is not None


async def _next_description() -> bool:
    document = await in_database(enrichment.claim)
    if document is not None:
        await enrichment.describe(document)
    return document is not None
