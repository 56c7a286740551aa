"""The hot call: one POST with a JSON body, made of the request that the openai package built once for its path.

The package builds every request from scratch and httpx2's client prepares it again: three quarters of the cost of a request (ADR 0020).
Over our own connections the bytes go directly to the socket. Through a proxy, or to a server in this process, a copy of httpx2's request
goes out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

import httpx2

from webapp.patterns.http.connection import head_of
from webapp.patterns.http.response import HttpResponse, Httpx2Reply
from webapp.patterns.http.transport import Origin, PoolTransport, origin_of

Send = Callable[[httpx2.Request], Awaitable[httpx2.Response]]
"""Send a request; the response's body is unread. Raises httpx2's errors."""
Make = Callable[[str], httpx2.Request]
"""Make a POST to a path below the base URL as the package does: address, authentication, headers."""
Headers = Mapping[str, str]
NO_HEADERS: Final[Headers] = {}
RawHeaders = list[tuple[bytes, bytes]]


class Poster(Protocol):
    """Send POSTs to a few paths of one server."""

    async def post(self, path: str, content: bytes, until: float, headers: Headers = NO_HEADERS) -> HttpResponse:
        """Return the response, whatever its status.

        Redirects are not followed. `headers` apply to this request only, with lower-case names.

        Raises:
            TimeoutError: no head arrived until then, by the loop's clock.
            httpx2.HTTPError, httpx2.InvalidURL: it could not be sent.
        """
        ...


class HotPathClient:
    """Send over our own connections. `make` is called once for each path; `connect` is in seconds."""

    def __init__(self, make: Make, pool: PoolTransport, connect: float) -> None:
        self._make = make
        self._pool = pool
        self._connect = connect
        self._heads: dict[str, tuple[Origin, bytes]] = {}

    async def post(self, path: str, content: bytes, until: float, headers: Headers = NO_HEADERS) -> HttpResponse:
        """Post a body and return the response once its head has come."""
        origin, head = self._head_with(path, headers) if headers else self._heads.get(path) or self._head(path)
        request = b"%bContent-Length: %d\r\n\r\n%b" % (head, len(content), content)
        reply = await self._pool.post(origin, request, connect=self._connect, until=until)
        packed = any(name.lower() == b"content-encoding" for name, _ in reply.headers)
        return Httpx2Reply(reply.response()) if packed else reply

    def _head(self, path: str) -> tuple[Origin, bytes]:
        self._heads[path] = self._head_with(path, NO_HEADERS)
        return self._heads[path]

    def _head_with(self, path: str, headers: Headers) -> tuple[Origin, bytes]:
        url, own = _template(self._make(path))
        return origin_of(url), head_of("POST", url, merged(own, headers))


class Httpx2Poster:
    """Send with httpx2.

    Args:
        make: called once for each path.
        send: of a transport or a client; it must not follow redirects.
        wait: httpx2's timeout for the transport.
    """

    def __init__(self, make: Make, send: Send, wait: httpx2.Timeout) -> None:
        self._make = make
        self._send = send
        self._extensions = {"timeout": wait.as_dict()}
        self._templates: dict[str, tuple[httpx2.URL, RawHeaders]] = {}

    async def post(self, path: str, content: bytes, until: float, headers: Headers = NO_HEADERS) -> HttpResponse:
        """Post a body and return the response once its head has come."""
        if path not in self._templates:
            self._templates[path] = _template(self._make(path))
        url, own = self._templates[path]
        length = (b"Content-Length", b"%d" % len(content))
        stream = httpx2.ByteStream(content)
        request = httpx2.Request("POST", url, headers=[*merged(own, headers), length], stream=stream, extensions=self._extensions)
        async with asyncio.timeout_at(until):
            response = await self._send(request)
        response.request = request
        return Httpx2Reply(response)


def merged(own: RawHeaders, headers: Headers) -> RawHeaders:
    """Return the headers of a request: those of one request replace those of all.

    Raises:
        httpx2.LocalProtocolError: a value cannot be sent in a header.
    """
    if not headers:
        return own
    if not all(value.isascii() and value.isprintable() for value in headers.values()):
        raise httpx2.LocalProtocolError("A header of the request holds characters that no HTTP header can carry.")
    kept = [(name, value) for name, value in own if name.decode("latin-1").lower() not in headers]
    return [*kept, *((name.encode(), value.encode()) for name, value in headers.items())]


def _template(request: httpx2.Request) -> tuple[httpx2.URL, RawHeaders]:
    """Return the address and the headers of a request, without its length."""
    if request.url.userinfo:  # as httpx2's client does
        request = next(httpx2.BasicAuth(request.url.username, request.url.password).auth_flow(request))
    return request.url, [(name, value) for name, value in request.headers.raw if name.lower() != b"content-length"]
