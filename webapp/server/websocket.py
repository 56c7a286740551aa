"""Guard every websocket: check its Origin, find the signed-in user, share the database threads.

A consumer that closes before it accepts, with a code 4400 to 4599, refuses the handshake with that HTTP status (4404: 404).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.auth import AuthMiddlewareStack

from webapp.core import threads
from webapp.server.asgi import Application, Receive, Scope, Send
from webapp.server.origins import is_own_origin

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""The largest frame from a client: a question of a million characters fits. A larger frame closes the socket with 1009."""
FOREIGN_ORIGIN = 4403
NO_SUCH_SOCKET = 4404
HTTP_CODES = range(4400, 4600)


def guarded(app: Application) -> Application:
    """Return `app` behind the origin check and authentication, with the shared database threads."""
    inner = AuthMiddlewareStack(app)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        send = _refusing(send)
        if not is_own_origin(scope):
            await receive()
            await send({"type": "websocket.close", "code": FOREIGN_ORIGIN})
            return
        async with threads.shared():
            await inner(scope, receive, send)

    return application


async def nowhere(_scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a websocket at an unknown address; the last route."""
    await receive()
    await send({"type": "websocket.close", "code": NO_SUCH_SOCKET})


def _refusing(send: Send) -> Send:
    """Return a `send` that turns an early close with one of HTTP_CODES into ASGI's denial response."""
    accepted = False

    async def wrapped(message: Mapping[str, Any]) -> None:
        nonlocal accepted
        accepted = accepted or message["type"] == "websocket.accept"
        code = message.get("code", 0)
        if accepted or message["type"] != "websocket.close" or code not in HTTP_CODES:
            await send(message)
            return
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"0")]
        await send({"type": "websocket.http.response.start", "status": code - 4000, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b""})

    return wrapped
