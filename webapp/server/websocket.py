"""What stands before every websocket: the Origin with scheme and port, the signed-in user, the shared database threads.

A consumer that closes before it accepts, with a code 4400 to 4599, refuses the handshake with that HTTP status (4404: 404).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from channels.auth import AuthMiddlewareStack
from django.conf import settings
from django.http.request import split_domain_port, validate_host

from webapp.core import threads
from webapp.server.asgi import Application, Receive, Scope, Send

MAX_MESSAGE_BYTES = 4 * 1024 * 1024
"""A frame from a client: a question of a million characters fits. A longer one closes the socket with 1009."""
FOREIGN_ORIGIN = 4403
NO_SUCH_SOCKET = 4404
HTTP_CODES = range(4400, 4600)


def guarded(app: Application) -> Application:
    """`app` behind the origin check, authentication, with the shared database threads."""
    inner = AuthMiddlewareStack(app)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        send = _refusing(send)
        if not _allowed(scope):
            await receive()
            await send({"type": "websocket.close", "code": FOREIGN_ORIGIN})
            return
        async with threads.shared():
            await inner(scope, receive, send)

    return application


async def nowhere(_scope: Scope, receive: Receive, send: Send) -> None:
    """The last route: no websocket lives at this address."""
    await receive()
    await send({"type": "websocket.close", "code": NO_SUCH_SOCKET})


def _refusing(send: Send) -> Send:
    """`send` that turns an early close with one of HTTP_CODES into ASGI's denial response."""
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


def _allowed(scope: Scope) -> bool:
    """Whether Origin is this very site (scheme, host and port) or a trusted one; an absent one is not.

    A name that is not ours is no site of ours, though Host and Origin agree: so they do when a foreign name is led here by DNS.
    """
    headers = dict(scope["headers"])
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    host = headers.get(b"host", b"").decode("latin-1").lower()
    ours = {f"{_scheme(scope, headers)}://{host}"} if validate_host(split_domain_port(host)[0], settings.ALLOWED_HOSTS) else set()
    return bool(origin) and origin in ours | {trusted.lower() for trusted in settings.TRUSTED_ORIGINS}


def _scheme(scope: Scope, headers: dict[bytes, bytes]) -> str:
    header = settings.SECURE_PROXY_SSL_HEADER
    if header:
        name, secure = header
        key = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
        if headers.get(key, b"").decode("latin-1").split(",")[0].strip() == secure:
            return "https"
    return "https" if scope.get("scheme") == "wss" else "http"
