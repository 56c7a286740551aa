"""The ASGI lifespan: background services start with the server and stop with it."""

from __future__ import annotations

from webapp import background
from webapp.server.http import Receive, Scope, Send


async def lifespan(_scope: Scope, receive: Receive, send: Send) -> None:
    """Run the background services between start-up and shutdown."""
    await receive()
    async with background.running():
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
