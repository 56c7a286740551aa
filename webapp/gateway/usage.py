"""When tokens were last used, written behind; and what the gateway forgets in time."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from channels.db import database_sync_to_async
from django.db import Error

from webapp.backends.services import touch_tokens
from webapp.gateway import idempotency
from webapp.gateway.auth import Principal

logger = logging.getLogger("patchbay.gateway")
FLUSH_SECONDS = 5.0
PURGE_EVERY = 720
_used: set[int] = set()


def used(principal: Principal) -> None:
    """Note that a token was used now."""
    _used.add(principal.token_id)


async def flush() -> None:
    """Write what was noted."""
    if _used:
        ids = list(_used)
        _used.clear()
        await database_sync_to_async(touch_tokens)(token_ids=ids)


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """The background service of the gateway."""
    task = asyncio.create_task(_run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await flush()


async def _run() -> None:
    for turn in itertools.count():
        try:
            await flush()
            if turn % PURGE_EVERY == 0:
                await database_sync_to_async(idempotency.purge)()
        except Error:
            logger.exception("The gateway's housekeeping has to wait for the database")
        await asyncio.sleep(FLUSH_SECONDS)
