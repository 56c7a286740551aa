"""The body cap: counted as it comes in, before anything is buffered, on every server and for every application."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapp.server.http import Application, Receive, Scope, Send, send_json


class BodyLimit:
    """Answers 413 to a body over the limit of its address, from its Content-Length or as soon as that many bytes have come.

    Args:
        app: the application behind.
        default: bytes allowed for most addresses.
        larger: bytes allowed below a path prefix, for uploads.
    """

    def __init__(self, app: Application, *, default: int, larger: Mapping[str, int]) -> None:
        self.app, self.default, self.larger = app, default, larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = next((size for prefix, size in self.larger.items() if scope["path"].startswith(prefix)), self.default)
        if _declared_length(scope) > limit:
            await _refuse(send, limit)
            return
        await self.app(scope, *_counted(receive, send, limit))


def _counted(receive: Receive, send: Send, limit: int) -> tuple[Receive, Send]:
    """The pair with a count: past the limit the client gets 413 and the application sees a disconnect."""
    seen, started, refused = 0, False, False

    async def counting() -> Mapping[str, Any]:
        nonlocal seen, refused
        if refused:
            return {"type": "http.disconnect"}
        message = await receive()
        seen += len(message.get("body", b""))
        if seen <= limit:
            return message
        refused = True
        if not started:
            await _refuse(send, limit)
        return {"type": "http.disconnect"}

    async def guarded(message: Mapping[str, Any]) -> None:
        nonlocal started
        if refused:
            return
        started = True
        await send(message)

    return counting, guarded


def _declared_length(scope: Scope) -> int:
    value = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
    return int(value) if value.isdigit() else 0


async def _refuse(send: Send, limit: int) -> None:
    message = f"The body is larger than the {limit // 1024 // 1024} MB allowed here."
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": "request_too_large"}
    await send_json(send, 413, {"error": error}, headers=[(b"connection", b"close")])
