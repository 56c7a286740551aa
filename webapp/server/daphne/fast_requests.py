"""Serve the usual requests below /v1 without Twisted's and Daphne's request objects.

These objects take as long as everything else in a short answer (docs/adr/0032). A request is usual if it is a POST with a Content-Length
whose head arrives in one piece and says nothing special: no transfer coding, expectation, or upgrade, and no unusual character. All others,
and malformed ones above all, take Twisted's way through `server.Request`.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

from webapp.core import background
from webapp.server.asgi import Application, Scope, refusal
from webapp.server.daphne.flow_control import UNREAD_SECONDS, Body, Writable

logger = logging.getLogger("patchbay.server")

HEAD: Final = re.compile(rb"POST (/v1/[\w/.-]+) HTTP/1\.1\r\n((?:[A-Za-z0-9-]+:[ -~\t]*\r\n)+)\r\n")
SPECIAL: Final = frozenset({b"transfer-encoding", b"expect", b"upgrade", b"trailer", b"te"})
MAX_HEADERS: Final = 100
MAX_LENGTH_DIGITS: Final = 12
WAITING_BYTES: Final = 64 * 1024
"""Bytes of following requests that are read while one is answered."""
NO_BODY: Final = frozenset({HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED})
REASONS: Final = {status.value: status.phrase.encode() for status in HTTPStatus}

Header = tuple[bytes, bytes]


class Head(NamedTuple):
    """The head of a usual request. `size` and `length` are the bytes of the head and of the body."""

    path: bytes
    headers: list[Header]
    size: int
    length: int


def read_head(data: bytes) -> Head | None:
    """Return the head at the beginning of `data`; None where it is not complete or not usual."""
    found = HEAD.match(data)
    if found is None:
        return None
    headers: list[Header] = []
    for line in found[2].split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        headers.append((name.lower(), value.strip()))
    names = [name for name, _ in headers]
    if len(names) > MAX_HEADERS or names.count(b"host") != 1 or names.count(b"content-length") != 1 or not SPECIAL.isdisjoint(names):
        return None
    if any(name == b"connection" and value.lower() != b"keep-alive" for name, value in headers):
        return None
    length = headers[names.index(b"content-length")][1]
    if not length.isdigit() or len(length) > MAX_LENGTH_DIGITS:
        return None
    return Head(found[1], headers, found.end(), int(length))


class FastRequest:
    """One request and its answer on a connection.

    Args:
        transport: of the connection.
        writable: of the connection; it is clear while the client's buffer is full.
        on_end: called once, when the answer is complete or broke off.

    Attributes:
        begun: a part of the answer is written.
        waiting: the bytes that came after the request.
    """

    def __init__(self, head: Head, transport: Any, writable: Writable, on_end: Callable[[FastRequest], None]) -> None:
        self.body = Body(transport.pauseProducing, transport.resumeProducing)
        self.begun = False
        self.complete = False
        self.waiting = b""
        self._head = head
        self._left = head.length
        self._transport = transport
        self._writable = writable
        self._on_end = on_end
        self._start: bytes | None = None
        self._chunked = False
        self._ended = False

    def run(self, application: Application, scope: Scope) -> asyncio.Task[None]:
        """Start the application."""
        task: asyncio.Task[None] = asyncio.ensure_future(application(scope, self.body.receive, self.send))
        background.track_pending(task)
        task.add_done_callback(self._done)
        return task

    def feed(self, data: bytes) -> None:
        """Take in what the client sent: the body, then the requests that follow."""
        if self._left:
            part = data if len(data) <= self._left else data[: self._left]
            self._left -= len(part)
            self.body.add(part)
            data = data[len(part) :]
        if not self._left and not self.body.complete:
            self.body.end()
        if data:
            self.waiting += data
            if len(self.waiting) > WAITING_BYTES:
                self._transport.pauseProducing()

    async def send(self, message: Mapping[str, Any]) -> None:
        """Take a message of the application, as ASGI's `send`."""
        if self._ended:
            return
        if message["type"] == "http.response.start":
            self._take_start(message["status"], message.get("headers", ()))
            return
        if not await self._writable.wait():
            logger.warning("A client left its buffer full for %s s and was disconnected", UNREAD_SECONDS)
            self._transport.abortConnection()
            return
        if not self._ended:  # the client may have left meanwhile
            self._write(message.get("body", b""), more=message.get("more_body", False))

    def _take_start(self, status: int, headers: Iterable[Header]) -> None:
        """Prepare the head of the answer. It is written with the first part of the body."""
        pairs = list(headers)
        lines = [b"HTTP/1.1 %d %b" % (status, REASONS.get(status, b"Unknown")), *(name + b": " + value for name, value in pairs)]
        self._chunked = status not in NO_BODY and not any(name.lower() == b"content-length" for name, _ in pairs)
        if self._chunked:
            lines.append(b"transfer-encoding: chunked")
        if not self.body.complete:  # the rest of the body is not read
            self.body.invite = None
            lines.append(b"connection: close")
        start = b"\r\n".join(lines) + b"\r\n\r\n"
        if start.count(b"\n") != len(lines) + 1:
            raise ValueError("a header of the answer holds a line break")
        self._start = start

    def _write(self, data: bytes, *, more: bool) -> None:
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
            if not more:
                data += b"0\r\n\r\n"
        if self._start is not None:
            data, self._start, self.begun = self._start + data, None, True
        if data:
            self._transport.write(data)
        if not more:
            self.complete = True
            self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        if self.body.complete:
            self.body.disconnect()
        else:
            self.body.discard()
        self._on_end(self)

    def leave(self) -> None:
        """Tell the application that the client is gone, or that the connection answers in its place."""
        self._ended = True
        self.body.disconnect()
        self._writable.resumeProducing()

    def _done(self, task: asyncio.Task[None]) -> None:
        """Close the connection where the application has ended without a complete answer: the client sees that it is not whole."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            logger.error("Exception inside application: %s", error, exc_info=error)
        if self._ended:
            return
        if not self.begun:
            self._transport.write(refusal(HTTPStatus.INTERNAL_SERVER_ERROR, "The server failed.", self._head.path))
        self._transport.loseConnection()
        self._end()


def scope_of(head: Head, *, scheme: str, client: list[Any], server: list[Any], root_path: str) -> Scope:
    """Return the ASGI scope of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": head.path.decode("ascii"),
        "raw_path": head.path,
        "root_path": root_path,
        "scheme": scheme,
        "query_string": b"",
        "headers": head.headers,
        "client": client,
        "server": server,
    }
