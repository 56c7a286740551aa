"""Represent a response with an unread body, over our own connections (`transport.PooledReply`) or httpx2's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

import httpx2


class HttpResponse(Protocol):
    """The head of a response. `headers` are unchanged."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]: ...

    async def read(self, until: float | None = None) -> bytes:
        """Return the next bytes of the body, decompressed; empty at its end.

        Raises:
            TimeoutError: none arrived until then, by the loop's clock.
            httpx2.HTTPError: the connection broke.
        """
        ...

    async def aclose(self) -> None:
        """Return the connection to the pool, or close it if the body was not read to its end. Idempotent."""
        ...


class Httpx2Reply:
    """A response of httpx2: through a proxy, from a server in this process, or compressed."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers.raw
        self._response = response
        plain = "content-encoding" not in response.headers and not response.is_stream_consumed
        stream = response.stream
        self._body = aiter(stream) if plain and isinstance(stream, httpx2.AsyncByteStream) else response.aiter_bytes()

    async def read(self, until: float | None = None) -> bytes:
        async with asyncio.timeout_at(until):
            return await anext(self._body, b"")

    async def aclose(self) -> None:
        await self._response.aclose()


async def rest(reply: HttpResponse, until: float) -> bytes:
    """Return the rest of the body and close the response. Raises the errors of `HttpResponse.read`."""
    parts = []
    try:
        while data := await reply.read(until):
            parts.append(data)
    finally:
        await reply.aclose()
    return b"".join(parts)
