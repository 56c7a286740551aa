"""The ingestion workers of a server process: documents as they come in, indexes that are being built, and summaries."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from django.db import DatabaseError

from search import enrichment, filling, ingestion, reindexing, wakeup
from webapp.backends.db import in_database

logger = logging.getLogger("patchbay.search")
WORKERS = 2
"""While one document is embedded, the next is read."""
PAUSE_SECONDS = 5.0


@asynccontextmanager
async def service() -> AsyncGenerator[None, None]:
    """Work until left; what is unfinished then is given back and goes on at the next start."""
    tasks = [asyncio.create_task(_forever(_next_document)) for _ in range(WORKERS)]
    tasks += [asyncio.create_task(_forever(step)) for step in (_next_index, _next_description)] + [asyncio.create_task(_reconcile())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _forever(step: Callable[[], Awaitable[bool]]) -> None:
    """Take step after step, and wait while there is nothing to do. A database that is away is waited for."""
    while True:
        try:
            if not await step():
                await wakeup.wait()
        except DatabaseError:
            logger.exception("search waits for the database")
            await asyncio.sleep(PAUSE_SECONDS)


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


async def _reconcile() -> None:
    try:
        await in_database(filling.reconcile)
    except DatabaseError:
        logger.exception("the indexes could not be compared with the documents")
