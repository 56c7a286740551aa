"""Implement one HTTP/1.1 connection with asyncio's transport and httptools' parser (docs/adr/0020)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable, Callable, Iterable
from typing import Final, cast

import httptools
import httpx2

MAX_HEAD: Final = 262_144
"""Maximum bytes of a response's head."""
HIGH_WATER: Final = 262_144
"""Unread bytes of a body at which the socket is paused."""

_LENGTHS: Final = re.compile(rb"(?im)^content-length:([^\r\n]*)\r$")
_LISTED_LENGTHS: Final = re.compile(rb"(?im)^content-length:[^\r\n]*,")
_FORBIDDEN: Final = re.compile(rb"[\r\n\0]")


class Connection(asyncio.Protocol):
    """A connection that carries one exchange at a time.

    Attributes:
        status, headers: of the response, after `exchange` returned.
        reusable: the response was read to its end, and the server keeps the connection open.
        answered: at least one byte of a response has arrived.
    """

    def __init__(self, on_lost: Callable[[Connection], None]) -> None:
        self.loop = asyncio.get_running_loop()
        self.idle_since = 0.0
        self._on_lost = on_lost
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._parts: list[bytes] = []
        self._waiter: asyncio.Future[None] | None = None
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._error: httpx2.TransportError | None = None
        self._paused = False
        self._begin()

    def _begin(self) -> None:
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.answered = False
        self.reusable = False
        self._head_size = 0
        self._has_head = False
        self._complete = False
        self._parts.clear()
        self._size = 0
        if self._paused:
            self._resume()

    @property
    def is_open(self) -> bool:
        """Return whether the connection can take a request."""
        return self._error is None and self._transport is not None and not self._transport.is_closing()

    # --- what the pool calls

    async def exchange(self, request: httpx2.Request) -> None:
        """Send a request and wait for the head of its response."""
        head = _head(request)
        if isinstance(request.stream, httpx2.ByteStream):
            await self.post(b"".join((head, *request.stream)))
        else:
            await self._send(head, request)
            await self._headed(None)

    async def post(self, request: bytes, until: float | None = None) -> None:
        """Send a complete request as wire bytes, and wait for the head of its response.

        Raises:
            TimeoutError: at `until`, by the loop's clock.
        """
        self._ready().write(request)
        await self._headed(until)

    def _ready(self) -> asyncio.Transport:
        self._begin()
        if self._transport is None or self._error is not None:
            raise self._error or httpx2.ConnectError("The connection is closed.")
        return self._transport

    async def _send(self, head: bytes, request: httpx2.Request) -> None:
        """Send a body in pieces, at the server's pace; stop if the server has already answered."""
        assert isinstance(request.stream, AsyncIterable)
        transport = self._ready()
        chunked = request.headers.get("transfer-encoding") == "chunked"
        transport.write(head)
        async for piece in request.stream:
            if self._has_head or self._error is not None:
                return
            transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece)
            await self._can_write.wait()
        if chunked:
            transport.write(b"0\r\n\r\n")

    async def _headed(self, until: float | None) -> None:
        while not self._has_head:
            if self._error is not None:
                raise self._error
            await self._wait(until)

    async def read(self, until: float | None = None) -> bytes:
        """Return the next bytes of the body; empty at its end.

        Raises:
            TimeoutError: none arrive until then.
        """
        if not self._parts and not self._complete and self._error is None:
            await self._wait(until)
        parts = self._parts
        if parts:
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            parts.clear()
            self._size = 0
            if self._paused:
                self._resume()
            return data
        if self._error is not None and not self._complete:
            raise self._error
        return b""

    def abort(self) -> None:
        """Close at once, whatever is running."""
        self._fail(httpx2.ReadError("The connection was closed."))
        if self._transport is not None:
            self._transport.abort()

    async def _wait(self, until: float | None) -> None:
        """Wait for data. Its own timer costs a third of `asyncio.timeout_at`."""
        if until is not None and self.loop.time() >= until:
            raise TimeoutError
        waiter = self._waiter = self.loop.create_future()
        timer = None if until is None else self.loop.call_at(until, _late, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if timer is not None:
                timer.cancel()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _resume(self) -> None:
        self._paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def _fail(self, error: httpx2.TransportError) -> None:
        if self._error is None:
            self._error = error
        self.reusable = False
        self._can_write.set()
        self._wake()

    # --- what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's does not derive from it

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        self.answered = True
        if not self._has_head:
            self._head_size += len(data)
            if len(_LENGTHS.findall(data)) > 1 or _LISTED_LENGTHS.search(data):
                data = with_one_length(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._broken(httpx2.RemoteProtocolError(f"The server does not speak HTTP/1.1: {error}"))
            return
        if not self._has_head and self._head_size > MAX_HEAD:
            self._broken(httpx2.RemoteProtocolError(f"The head of the response is longer than {MAX_HEAD} bytes."))

    def _broken(self, error: httpx2.TransportError) -> None:
        assert self._transport is not None, "data comes over a transport"
        self._fail(error)
        self._transport.abort()

    def eof_received(self) -> None:
        """End a body whose length is given by the end of the connection."""
        if self._has_head and not self._complete and not self._is_framed():
            self._complete = True  # a body that ends with its connection
            self._wake()

    def _is_framed(self) -> bool:
        return any(name.lower() in {b"content-length", b"transfer-encoding"} for name, _ in self.headers)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the running exchange."""
        reason = f": {exc}" if exc else ""
        self._fail(httpx2.RemoteProtocolError(f"The server closed the connection before the answer was complete{reason}."))
        self._transport = None
        self._on_lost(self)

    def pause_writing(self) -> None:
        """Hold back writes."""
        self._can_write.clear()

    def resume_writing(self) -> None:
        """Allow writes again."""
        self._can_write.set()

    # --- what the parser calls

    def on_message_begin(self) -> None:
        """Refuse a second response."""
        if self._has_head:  # a second response without a request
            self._fail(httpx2.RemoteProtocolError("The server sent more than it was asked for."))

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header."""
        if not self._has_head:  # else a trailer
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """Keep the status and wake the reader."""
        if self._has_head:
            return
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._has_head = True
            self._wake()

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body, and pause reading when there is much of it."""
        if self._complete:
            return
        self._parts.append(body)
        self._size += len(body)
        if self._size > HIGH_WATER and not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def on_message_complete(self) -> None:
        """End the body."""
        if self.status < 200:  # an interim response: the real one follows
            self.headers.clear()
            return
        self._complete = True
        self.reusable = bool(self._parser.should_keep_alive()) and self._error is None
        self._wake()


def with_one_length(data: bytes) -> bytes:
    """Return the head of a response with one Content-Length in the place of several equal ones, which some proxies send (RFC 9110, 8.6)."""
    head, end, body = data.partition(b"\r\n\r\n")
    values = {value.strip() for found in _LENGTHS.findall(head + b"\r\n") for value in found.split(b",")}
    if len(values) != 1:
        return data  # the parser refuses them
    others = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length:")]
    return b"\r\n".join([*others, b"Content-Length: " + values.pop()]) + end + body


def _late(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(TimeoutError())


def _head(request: httpx2.Request) -> bytes:
    return head_of(request.method, request.url, request.headers.raw) + b"\r\n"


def head_of(method: str, url: httpx2.URL, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the head of a request without its final empty line."""
    lines = [b"%b %b HTTP/1.1" % (method.encode("ascii"), url.raw_path)]
    lines += [b"%b: %b" % pair for pair in headers]
    if _FORBIDDEN.search(b"".join(lines)):
        raise httpx2.LocalProtocolError("A header of the request holds a line break.")
    return b"\r\n".join(lines) + b"\r\n"
