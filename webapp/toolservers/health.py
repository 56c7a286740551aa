"""Look after tool servers in the background: close idle connections, and list tools again now and then."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from webapp.core.background import run_tasks
from webapp.core.database import in_database
from webapp.patterns.mcp.types import ToolServerError
from webapp.toolservers import toolset
from webapp.toolservers.connections import sessions
from webapp.toolservers.models import ToolServer

logger = logging.getLogger("patchbay.toolservers")
SWEEP_SECONDS = 30.0
CHECK_EVERY = timedelta(minutes=10)


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """Run the checks as a background service."""
    async with run_tasks(**{"idle tool servers": _sweep, "tool servers": _check}):
        try:
            yield
        finally:
            await sessions.aclose()


async def _sweep() -> None:
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        sessions.close_idle()


async def _check() -> None:
    """List the tools of one server at a time; the process that claims a server checks it."""
    while True:
        await asyncio.sleep(SWEEP_SECONDS)
        while server := await in_database(_claim):
            try:
                await toolset.refresh(server)
            except ToolServerError as error:
                logger.info("tool server %s: %s", server.name, error.message)


def _claim() -> ToolServer | None:
    """Return a server by URL whose last check is old. Commands are checked when they are used: starting them costs too much."""
    due = Q(checked_at=None) | Q(checked_at__lt=timezone.now() - CHECK_EVERY)
    for server in ToolServer.objects.filter(due, enabled=True, sign_in_needed=False).exclude(url="")[:20]:
        mine = ToolServer.objects.filter(pk=server.pk, checked_at=server.checked_at)
        if mine.update(checked_at=timezone.now()):
            return server
    return None
