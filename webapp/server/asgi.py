"""Plain ASGI pieces: types, the router between mounted applications, and a JSON answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from asgiref.sync import ThreadSensitiveContext

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = Sequence[tuple[bytes, bytes]]


class HttpRouter:
    """Sends a request to the application mounted at its path's first segments, or to `default`."""

    def __init__(self, mounts: Mapping[str, Application], default: Application) -> None:
        self.mounts = mounts
        self.default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith("/"):  # CONNECT's host and port, the * of OPTIONS: Django would stumble over them
            await send_json(send, HTTPStatus.BAD_REQUEST, invalid_request("The address of the request is invalid."))
            return
        await self._application(scope["path"])(scope, receive, send)

    def _application(self, path: str) -> Application:
        return next((app for root, app in self.mounts.items() if path == root or path.startswith(root + "/")), self.default)


def invalid_request(message: str, code: str = "invalid_request") -> Any:
    """A body in the shape of OpenAI's errors."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def refusal(status: int, message: str, target: bytes) -> bytes:
    """A whole response that ends its connection, for what no application sees: OpenAI's error below /v1, else a line of text."""
    reason = HTTPStatus(status)
    if target.startswith(b"/v1/"):
        code = "invalid_request" if reason is HTTPStatus.BAD_REQUEST else reason.name.lower()
        kind, body = "application/json", json.dumps(invalid_request(message, code))
    else:
        kind, body = "text/plain; charset=utf-8", message + "\n"
    lines = [
        f"HTTP/1.1 {status} {reason.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body.encode())}",
        "X-Content-Type-Options: nosniff",
        f"X-Request-Id: {uuid.uuid4().hex}",
        "Connection: close",
    ]
    return "\r\n".join([*lines, "", body]).encode()


def with_own_thread(app: Application) -> Application:
    """`app` with a database thread for each request that needs one, as Django gives its own: else all would wait for a single one."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        async with ThreadSensitiveContext():
            await app(scope, receive, send)

    return application


async def send_json(send: Send, status: int, body: Any, headers: Headers = ()) -> None:
    """Send a whole JSON response."""
    raw = json.dumps(body, ensure_ascii=False).encode()
    kind = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
    start = [*kind, (b"content-length", str(len(raw)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": raw})
