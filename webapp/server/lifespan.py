"""Implement the ASGI lifespan: background services start with the server and stop after a grace period for running work."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from django.conf import settings

from webapp.core import background
from webapp.server.asgi import Application, Receive, Scope, Send

logger = logging.getLogger("patchbay.server")
STOP_SECONDS = 3
"""Seconds that the services may take to stop, after the grace period."""


async def lifespan(_scope: Scope, receive: Receive, send: Send) -> None:
    """Run the background services between start-up and shutdown."""
    await receive()
    async with background.running():
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await background.wait_pending(settings.STOP_GRACE)
    await send({"type": "lifespan.shutdown.complete"})


class Lifespan:
    """Speak the server's side of ASGI's lifespan protocol."""

    def __init__(self, application: Application) -> None:
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._outgoing: asyncio.Queue[Any] = asyncio.Queue()
        self._application = application
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the application and wait until it is ready."""
        scope: Scope = {"type": "lifespan", "asgi": {"version": "3.0"}}
        self._task = asyncio.ensure_future(self._application(scope, self._incoming.get, self._outgoing.put))
        await self._tell("lifespan.startup")

    async def stop(self) -> None:
        """Ask the application to stop, and wait for it."""
        patience = settings.STOP_GRACE + STOP_SECONDS
        try:
            await asyncio.wait_for(self._tell("lifespan.shutdown"), patience)
        except TimeoutError:
            logger.warning("The background services did not stop within %s s", patience)

    async def _tell(self, what: str) -> None:
        """Send a lifespan message and wait for the answer, or for the failure of the application."""
        self._incoming.put_nowait({"type": what})
        answer = asyncio.ensure_future(self._outgoing.get())
        if self._task is None:
            return
        await asyncio.wait({answer, self._task}, return_when=asyncio.FIRST_COMPLETED)
        if self._task.done() and self._task.exception():
            answer.cancel()
            await self._task
