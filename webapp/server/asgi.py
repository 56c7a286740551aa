"""Define ASGI types, a router between mounted applications, and JSON responses."""

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
    """Send a request to the application mounted at the first segments of its path, or to `default`."""

    def __init__(self, mounts: Mapping[str, Application], default: Application) -> None:
        self.mounts = mounts
        self.default = default

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request to the application that serves its path."""
        if not scope["path"].startswith("/"):  # the host and port of CONNECT, the * of OPTIONS: Django cannot handle them
            await send_json(send, HTTPStatus.BAD_REQUEST, invalid_request("The address of the request is invalid."))
            return
        await self._application(scope["path"])(scope, receive, send)

    def _application(self, path: str) -> Application:
        return next((app for root, app in self.mounts.items() if path == root or path.startswith(root + "/")), self.default)


def invalid_request(message: str, code: str = "invalid_request") -> Any:
    """Return an error body in OpenAI's shape."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}


def refusal(status: int, message: str, target: bytes) -> bytes:
    """Return a complete HTTP response that closes the connection, for requests refused before an application runs.

    Below /v1 the body is OpenAI's error, elsewhere a line of text.
    """
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
    """Return `app` with a database thread per request, as Django gives its own requests. Otherwise all requests share a single one."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        async with ThreadSensitiveContext():
            await app(scope, receive, send)

    return application


async def send_json(send: Send, status: int, body: Any, headers: Headers = ()) -> None:
    """Send a complete JSON response."""
    raw = json.dumps(body, ensure_ascii=False).encode()
    kind = [(b"content-type", b"application/json"), (b"x-content-type-options", b"nosniff")]
    start = [*kind, (b"content-length", str(len(raw)).encode()), *headers]
    await send({"type": "http.response.start", "status": status, "headers": start})
    await send({"type": "http.response.body", "body": raw})
