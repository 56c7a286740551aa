"""The ingestion workers of a server process: documents as they come in, indexes that are being built, and summaries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

from search import enrichment, filling, ingestion, reindexing, wakeup
from webapp.backends.db import in_database
from webapp.background import beside

WORKERS = 2
"""While one document is embedded, the next is read."""


@asynccontextmanager
async def service() -> AsyncGenerator[None, None]:
    """Work until left; what is unfinished then is given back and goes on at the next start."""
    workers = {f"documents {number}": partial(_forever, _next_document) for number in range(WORKERS)}
    indexes, descriptions = partial(_forever, _next_index), partial(_forever, _next_description)
    async with beside(**workers, indexes=indexes, descriptions=descriptions, comparing=partial(in_database, filling.reconcile)):
        yield


async def _forever(step: Callable[[], Awaitable[bool]]) -> None:
    """Take step after step, and wait while there is nothing to do."""
    while True:
        if not await step():
            await wakeup.wait()


async def _next_document() -> bool:
    document = await in_database(ingestion.claim)
    if document is not None:
        await ingestion.ingest(document)
    return document is not None


async def _next_index() -> bool:
    index = await in_database(reindexing.claim)
    if index is not None:
        await reindexing.build(index)
    return index is not None


async def _next_description() -> bool:
    document = await in_database(enrichment.claim)
    if document is not None:
        await enrichment.describe(document)
    return document is not None
