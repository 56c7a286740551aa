"""Represent one call of the API: its headers and body as they arrive, and the answer."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Final
from urllib.parse import parse_qsl

from webapp.patterns.messages.errors import error_body
from webapp.ports.files_and_batches import ApiError
from webapp.server.asgi import Receive, Scope, Send
from webapp.server.request_id import new_id

ROOT = "/v1"
JSON_TYPE = "application/json"
ERROR_EVENT = b"event: error\n"
EVENT_END = b"\n\n"
SESSION_HEADERS = (
    b"x-session-id",
    b"session-id",
    b"session_id",
    b"x-claude-code-session-id",
    b"x-session-affinity",
    b"x-conversation-id",
)
"""Headers by which clients name a session; Codex sends `session_id`, Claude Code its own."""
WATCH_AFTER_SECONDS: Final = 0.25
"""Most short answers are complete by then. A task that watches each of their connections would cost a tenth of the request."""


class ClientGone(Exception):
    """Report that the client closed the connection."""


class CutAnswer(Exception):
    """Report that an answer broke off. The server closes the connection, so that the client notices."""


class Call:
    """A request below /v1 and its answer.

    Attributes:
        path: the part after `/v1/`, decoded: "chat/completions".
        headers: names in lower case; of several with one name, the last counts.
        id: the request id, sent as `x-request-id` and stored in the attempt log.
        anthropic: whether the caller speaks Anthropic's protocol, by the path or the header of its clients.
        started: whether the status is sent. After that, an error can only appear inside the body.
        cut_on_failure: whether a later error must cut the connection, because the body does not consist of events.
    """

    __slots__ = (
        "_receive",
        "_send",
        "anthropic",
        "cut_on_failure",
        "extra_headers",
        "headers",
        "id",
        "method",
        "path",
        "query_string",
        "started",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"].removeprefix(ROOT).strip("/")
        self.query_string: bytes = scope.get("query_string", b"")
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self.id: uuid.UUID = scope.get("request_uuid") or new_id()
        self.anthropic = self.path.startswith("messages") or b"anthropic-version" in self.headers
        self.started = False
        self.cut_on_failure = False
        self.extra_headers: dict[str, str] = {"request-id": str(self.id)} if self.anthropic else {}
        self._receive = receive
        self._send = send

    def header(self, name: str) -> str:
        """Return a request header's value; empty if it is missing."""
        return self.headers.get(name.encode(), b"").decode("latin-1").strip()

    @property
    def session(self) -> str:
        """Return the session that connects the call to earlier ones, from the headers of clients; empty without one."""
        for name in SESSION_HEADERS:
            if name in self.headers and (value := self.header(name.decode())):
                return f"{name.decode()}:{value[:200]}"
        return ""

    def query(self) -> dict[str, str]:
        """Return the query's parameters; of several with one name, the last counts."""
        return dict(parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True))

    async def body_chunks(self, limit: int) -> AsyncIterator[bytes]:
        """Yield the body in pieces.

        Raises:
            ApiError: 413, before the first piece if the length is known, otherwise once `limit` bytes are exceeded.
        """
        declared = self.header("content-length")
        if declared.isdigit() and int(declared) > limit:
            raise too_large(limit)
        received, more = 0, True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise ClientGone
            chunk = event.get("body", b"")
            more = event.get("more_body", False)
            received += len(chunk)
            if received > limit:
                raise too_large(limit)
            yield chunk

    async def body(self, limit: int) -> bytes:
        """Return the whole body of at most `limit` bytes."""
        chunks = [chunk async for chunk in self.body_chunks(limit) if chunk]
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def abandoned_when_gone(self) -> AbandonedWhenGone:
        """Return a context that is canceled when the client disconnects, and then raises `ClientGone`. The unread body is dropped."""
        return AbandonedWhenGone(self)

    async def gone(self) -> None:
        """Wait until the client disconnects."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Send the status and the headers."""
        self.started = True
        named = {"x-request-id": str(self.id), "x-content-type-options": "nosniff", **self.extra_headers, **headers}
        pairs = [(name.encode(), header_value(value)) for name, value in named.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})

    async def send(self, data: bytes) -> None:
        """Send a piece of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """Send the last piece of the body."""
        await self._send({"type": "http.response.body", "body": data, "more_body": False})

    async def respond(self, status: int, raw: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send a complete JSON response; for HEAD only its headers."""
        await self.start(status, {"content-type": JSON_TYPE, "content-length": str(len(raw)), **(headers or {})})
        await self.end(b"" if self.method == "HEAD" else raw)

    async def respond_json(self, body: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Send `body` as JSON."""
        await self.respond(status, dump(body), headers)

    async def fail(self, error: ApiError) -> None:
        """Send the error as the response, or as an event if a stream has begun, in the caller's protocol."""
        body = dump(self._error_body(error))
        if not self.started:
            await self.respond(error.status, body, error.headers)
            return
        if self.cut_on_failure:
            raise CutAnswer(error.message) from None
        await self.end((ERROR_EVENT if self.anthropic else b"") + b"data: " + body + EVENT_END)

    def _error_body(self, error: ApiError) -> Any:
        if self.anthropic:
            return error_body(error.status, error.message, code=error.code, request_id=str(self.id))
        return error.as_json()


class AbandonedWhenGone:
    """Cancel the task inside the block when the client disconnects.

    Looking begins `WATCH_AFTER_SECONDS` after the start, because until then most answers are complete.
    """

    __slots__ = ("_call", "_inside", "_task", "_timer", "_watcher")

    def __init__(self, call: Call) -> None:
        self._call = call
        self._watcher: asyncio.Task[None] | None = None

    async def __aenter__(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task, self._inside = task, True
        self._timer = asyncio.get_running_loop().call_later(WATCH_AFTER_SECONDS, self._watch)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._inside = False
        self._timer.cancel()
        watcher = self._watcher
        if watcher is None:
            return
        left = watcher.done()
        watcher.cancel()
        if left and isinstance(error, asyncio.CancelledError) and self._task.uncancel() == 0:
            raise ClientGone from None

    def _watch(self) -> None:
        self._watcher = asyncio.ensure_future(self._call.gone())
        self._watcher.add_done_callback(self._leave)

    def _leave(self, _watcher: asyncio.Future[None]) -> None:
        if self._inside:  # after this a disconnect must not stop the accounting
            self._task.cancel()


def dump(body: Any) -> bytes:
    """Return compact JSON."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode(errors="replace")


def header_value(text: str) -> bytes:
    """Return `text` in a form that a header allows: without control characters, with other scripts escaped."""
    if text.isascii() and text.isprintable():
        return text.encode("ascii")
    return "".join(char if char.isprintable() else " " for char in text).encode("ascii", "backslashreplace")


def too_large(limit: int) -> ApiError:
    """Return an `ApiError` 413 for a body over the limit, given in bytes."""
    megabytes = limit // (1024 * 1024)
    return ApiError(413, f"The request body is larger than {megabytes} MB.", code="request_too_large")
