"""Record the last use of tokens, written behind, and delete expired data of the gateway."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from webapp.backends.services import touch_tokens
from webapp.core.background import run_tasks
from webapp.core.database import in_database
from webapp.gateway import idempotency, uploads
from webapp.gateway.auth import Principal

FLUSH_SECONDS = 5.0
PURGE_EVERY = 720
_used: set[int] = set()


def used(principal: Principal) -> None:
    """Record that a token is used now."""
    _used.add(principal.token_id)


async def flush() -> None:
    """Write the recorded uses."""
    if _used:
        ids = list(_used)
        _used.clear()
        await in_database(touch_tokens, token_ids=ids)


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """Run the background service of the gateway."""
    async with run_tasks(gateway=_run):
        yield
    await flush()


async def _run() -> None:
    for turn in itertools.count():
        await flush()
        if turn % PURGE_EVERY == 0:
            await in_database(idempotency.purge)
            await asyncio.to_thread(uploads.sweep)
        await asyncio.sleep(FLUSH_SECONDS)
