"""What stands before every websocket: the Origin with scheme and port, the signed-in user, a database thread of its own."""

from __future__ import annotations

from asgiref.sync import ThreadSensitiveContext
from channels.auth import AuthMiddlewareStack
from django.conf import settings

from webapp.server.http import Application, Receive, Scope, Send


def guarded(app: Application) -> Application:
    """`app` behind the origin check, authentication and its own ORM thread."""
    inner = AuthMiddlewareStack(app)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        if not _allowed(scope):
            await receive()
            await send({"type": "websocket.close", "code": 4403})  # before accept: the server answers 403
            return
        async with ThreadSensitiveContext():
            await inner(scope, receive, send)

    return application


def _allowed(scope: Scope) -> bool:
    """Whether Origin is this very site (scheme, host and port) or a trusted one; an absent one is not."""
    headers = dict(scope["headers"])
    origin = headers.get(b"origin", b"").decode("latin-1").lower()
    own = f"{_scheme(scope, headers)}://{headers.get(b'host', b'').decode('latin-1').lower()}"
    return bool(origin) and origin in {own, *(trusted.lower() for trusted in settings.TRUSTED_ORIGINS)}


def _scheme(scope: Scope, headers: dict[bytes, bytes]) -> str:
    header = settings.SECURE_PROXY_SSL_HEADER
    if header:
        name, secure = header
        key = name.removeprefix("HTTP_").replace("_", "-").lower().encode()
        if headers.get(key, b"").decode("latin-1").split(",")[0].strip() == secure:
            return "https"
    return "https" if scope.get("scheme") == "wss" else "http"
