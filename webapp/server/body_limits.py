"""Limit the size of bodies while they arrive, on every server and for every application; and limit rates."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Mapping
from typing import Any

from webapp.patterns.messages.errors import error_body
from webapp.server.asgi import Application, Receive, Scope, Send, send_json

MAX_OPEN_FILES = 10_240
"""More than one process can serve, and less than any system's maximum."""


class BodyLimit:
    """Answer 413 to a body over the limit of its path, by its Content-Length or as soon as too many bytes have arrived.

    Args:
        app: the wrapped application.
        default: bytes allowed on most paths.
        below: bytes allowed below a path prefix.
    """

    def __init__(self, app: Application, *, default: int, below: Mapping[str, int]) -> None:
        self.app, self.default, self.below = app, default, below

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and answer 413 when its body is too large."""
        limit = next((size for prefix, size in self.below.items() if scope["path"].startswith(prefix)), self.default)
        if _declared_length(scope) > limit:
            await _refuse(scope, send, limit)
            return
        await self.app(scope, *_counted(scope, receive, send, limit))


def _counted(scope: Scope, receive: Receive, send: Send, limit: int) -> tuple[Receive, Send]:
    """Return `receive` and `send` with a byte count: past the limit the client gets 413 and the application sees a disconnect."""
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
            await _refuse(scope, send, limit)
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


async def _refuse(scope: Scope, send: Send, limit: int) -> None:
    """Answer 413 in the shape of the path's protocol: Anthropic's below /v1/messages, else OpenAI's."""
    allowed = f"{limit // 1024**2} MB" if limit >= 1024**2 else f"{limit // 1024} KB"
    message = f"The body is larger than the {allowed} allowed here."
    if scope["path"].startswith("/v1/messages"):
        body = error_body(413, message)
    else:
        body = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "request_too_large"}}
    await send_json(send, 413, body, headers=[(b"connection", b"close")])


class Rate:
    """Token bucket: `most` events per minute in this process, with a burst of one minute."""

    def __init__(self, most: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._left, self._at = float(most), clock()

    def take(self) -> bool:
        """Take one event and return True, or return False if none is left."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._most / 60)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def open_files() -> int:
    """Raise this process's limit of open files and sockets, usually 1,024, to the system's maximum or MAX_OPEN_FILES; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MAX_OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
