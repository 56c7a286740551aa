"""Transport HTTP requests over our own connections, pooled by origin. Addresses are checked on connection."""

from __future__ import annotations

import asyncio
import functools
import os
import ssl
import urllib.request
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import httpx2

from webapp.patterns.http.addresses import INSIDE, REFUSAL, as_literal, is_forbidden, is_inside, resolve
from webapp.patterns.http.connection import Connection

MAX_IDLE: Final = 64
"""Idle connections kept per origin."""
IDLE_SECONDS: Final = 30.0
MAX_REFUSAL: Final = 1_048_576
"""Bytes read of a body with an error status; the package reads such bodies completely."""
MAX_PACKED_REFUSAL: Final = 16_384
"""The same limit for a compressed body, which may be a bomb."""

Origin = tuple[str, str, int]


class ForbiddenAddress(httpx2.ConnectError):
    """Report that a host is, or resolves to, an address that no backend may have."""


class PoolTransport(httpx2.AsyncBaseTransport):
    """Pool HTTP/1.1 connections: one per running call, with idle ones kept for reuse.

    Of httpx's timeouts only the one for connecting applies; the caller bounds the rest. If a kept connection turns out to be closed before
    any byte of an answer, the request is sent once more on a new one.
    """

    def __init__(self, *, context: ssl.SSLContext | None = None, idle_seconds: float = IDLE_SECONDS, public: bool = False) -> None:
        self._public = public
        self._context = context
        self._idle_seconds = idle_seconds
        self._idle: dict[Origin, list[Connection]] = defaultdict(list)
        self._busy: set[Connection] = set()
        self._closed = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request over a pooled connection."""
        connect = (request.extensions.get("timeout") or {}).get("connect")
        again = isinstance(request.stream, httpx2.ByteStream)
        reply = await self._answered(origin_of(request.url), lambda connection: connection.exchange(request), connect, again=again)
        return reply.response()

    async def post(self, origin: Origin, request: bytes, *, connect: float | None, until: float) -> PooledReply:
        """Send a complete request as wire bytes; return the response with its body unread.

        Args:
            connect: maximum seconds to connect.
            until: the deadline, by the loop's clock.

        Raises:
            TimeoutError: no head arrived in time.
            httpx2.TransportError: as httpx2's own transports.
        """
        return await self._answered(origin, lambda connection: connection.post(request, until), connect, until)

    async def _answered(
        self,
        origin: Origin,
        send: Callable[[Connection], Awaitable[None]],
        connect: float | None,
        until: float | None = None,
        *,
        again: bool = True,
    ) -> PooledReply:
        kept = self._reusable(origin)
        if kept:
            try:
                return await self._exchange(kept, origin, send)
            except httpx2.TransportError:
                if self._closed or kept.answered or not again:
                    raise
        if self._closed:
            raise httpx2.ConnectError("The backend is closed.")
        async with asyncio.timeout_at(until):
            connection = await self._connect(origin, connect)
        return await self._exchange(connection, origin, send)

    async def aclose(self) -> None:
        """Close all connections."""
        self._closed = True
        for connection in [*self._busy, *(kept for idle in self._idle.values() for kept in idle)]:
            connection.abort()
        self._idle.clear()

    def _reusable(self, origin: Origin) -> Connection | None:
        """Return the most recently used connection that is still usable."""
        idle = self._idle[origin]
        loop = asyncio.get_running_loop()
        while idle:
            connection = idle.pop()
            if connection.loop is loop and connection.is_open and loop.time() - connection.idle_since < self._idle_seconds:
                return connection
            if connection.loop is loop:
                connection.abort()
        return None

    async def _exchange(self, connection: Connection, origin: Origin, send: Callable[[Connection], Awaitable[None]]) -> PooledReply:
        self._busy.add(connection)
        try:
            await send(connection)
        except BaseException:
            self._drop(connection)
            raise
        return PooledReply(self, connection, origin)

    def _drop(self, connection: Connection) -> None:
        self._busy.discard(connection)
        connection.abort()

    def release(self, connection: Connection, origin: Origin) -> None:
        """Take a connection back: reuse it if its body was read to its end, otherwise close it."""
        if not (connection.reusable and connection.is_open):
            self._drop(connection)
            return
        self._busy.discard(connection)
        idle = self._idle[origin]
        connection.idle_since = connection.loop.time()
        idle.append(connection)
        if len(idle) > MAX_IDLE:
            idle.pop(0).abort()

    def _lost(self, connection: Connection) -> None:
        self._busy.discard(connection)
        for idle in self._idle.values():
            if connection in idle:
                idle.remove(connection)

    async def _connect(self, origin: Origin, patience: float | None) -> Connection:
        try:
            async with asyncio.timeout(patience):
                return await self._connected(origin, patience)
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"No connection within {patience:g} s.") from error
        except ssl.SSLCertVerificationError as error:
            raise httpx2.ConnectError(f"The certificate is not trusted: {error.verify_message}") from error
        except OSError as error:
            number = error.errno or 0  # negative ones are the resolver's, with texts of their own
            raise httpx2.ConnectError(os.strerror(number) if number > 0 else error.strerror or str(error)) from error

    async def _connected(self, origin: Origin, patience: float | None) -> Connection:
        """Connect to the addresses one after the other, each with its share of the time."""
        scheme, host, port = origin
        addresses = await resolve(host, port)
        if any(map(is_forbidden, addresses)):
            raise ForbiddenAddress(f"{host} {REFUSAL}.")
        if self._public and any(map(is_inside, addresses)):
            raise ForbiddenAddress(f"{host} {INSIDE}.")
        context = (self._context or _trusting()) if scheme == "https" else None
        loop = asyncio.get_running_loop()
        failure: OSError | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(patience / len(addresses) if patience else None):
                    _, connection = await loop.create_connection(
                        functools.partial(Connection, self._lost), address, port, ssl=context, server_hostname=host if context else None
                    )
                    return connection
            except OSError as error:  # TimeoutError among them
                failure = error
        assert failure is not None, "a resolved name has addresses"
        raise failure


class PooledReply(httpx2.AsyncByteStream):
    """A response over one of the pool's connections, also convertible to httpx2's."""

    def __init__(self, pool: PoolTransport, connection: Connection, origin: Origin) -> None:
        self.status = connection.status
        self.headers = connection.headers
        self._pool = pool
        self._connection = connection
        self._origin = origin
        self._left = _limit(connection)
        self._closed = False

    async def read(self, until: float | None = None) -> bytes:
        """Return the next piece of the body, or nothing at its end."""
        if self._left is None:
            return await self._connection.read(until)
        data = (await self._connection.read(until))[: self._left] if self._left else b""
        self._left -= len(data)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while data := await self.read():
            yield data

    async def aclose(self) -> None:
        """Give the connection back to the pool."""
        if not self._closed:
            self._closed = True
            self._pool.release(self._connection, self._origin)

    def response(self) -> httpx2.Response:
        """Return the same as httpx2's response."""
        return httpx2.Response(self.status, headers=self.headers, stream=self, extensions={"http_version": b"HTTP/1.1"})


def origin_of(url: httpx2.URL) -> Origin:
    """Return the origin to connect to for an address.

    Raises:
        httpx2.UnsupportedProtocol: it is not an http(s) address.
    """
    if url.scheme not in {"http", "https"}:
        raise httpx2.UnsupportedProtocol(f"The address must begin with http:// or https://, not {url.scheme!r}.")
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _limit(connection: Connection) -> int | None:
    if connection.status < 300:
        return None
    packed = any(name.lower() == b"content-encoding" for name, _ in connection.headers)
    return MAX_PACKED_REFUSAL if packed else MAX_REFUSAL


@functools.cache
def _trusting() -> ssl.SSLContext:
    """Return the context for all TLS connections. Loading the trusted certificates takes about 20 ms."""
    return httpx2.create_ssl_context()


def make_transport(base_url: str, *, public: bool = False) -> httpx2.AsyncBaseTransport:
    """Return the transport for one server: our own, or httpx's through the proxy of the environment.

    Args:
        public: refuse to connect to this machine and private networks. A proxy resolves names itself and must refuse them.
    """
    proxy = _proxy_for(base_url)
    if proxy is None:
        return PoolTransport(public=public)
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=IDLE_SECONDS)
    return httpx2.AsyncHTTPTransport(proxy=proxy, limits=limits, trust_env=False)


def _proxy_for(base_url: str) -> str | None:
    """Return the environment's proxy for an address; none for this machine and `NO_PROXY`."""
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    literal = as_literal(host)
    if host == "localhost" or (literal and (literal.startswith("127.") or literal == "::1")) or urllib.request.proxy_bypass(host):
        return None
    proxies = urllib.request.getproxies()
    return proxies.get(parts.scheme) or proxies.get("all")
