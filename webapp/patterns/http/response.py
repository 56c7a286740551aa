"""Represent a response with an unread body, over our own connections (`transport.PooledReply`) or httpx2's."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Sequence
from typing import Final, Protocol

import httpx2

_GZIP: Final = 31
"""The window of zlib that reads gzip's header and trailer."""


class HttpResponse(Protocol):
    """The head of a response. `headers` are unchanged."""

    @property
    def status(self) -> int:
        """Return the status."""

    @property
    def headers(self) -> Sequence[tuple[bytes, bytes]]:
        """Return the headers in order."""

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
        self._body: AsyncIterator[bytes]
        encoding = response.headers.get("content-encoding", "").strip().lower()
        stream = response.stream
        if response.is_stream_consumed or not isinstance(stream, httpx2.AsyncByteStream) or encoding not in {"", "gzip", "x-gzip"}:
            self._body = response.aiter_bytes()
        else:
            plain: AsyncIterator[bytes] = aiter(stream)
            self._body = gunzipped(stream) if encoding else plain

    async def read(self, until: float | None = None) -> bytes:
        """Return the next piece of the body, or nothing at its end."""
        async with asyncio.timeout_at(until):
            return await anext(self._body, b"")

    async def aclose(self) -> None:
        """Close the response."""
        await self._response.aclose()


async def gunzipped(stream: AsyncIterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Decompress a gzip body of any number of members: httpx2 reads the first and drops the others.

    Raises:
        httpx2.DecodingError: it is not gzip, or it is cut off.
    """
    decoder = zlib.decompressobj(_GZIP)
    begun = False
    try:
        async for piece in stream:
            data = piece
            while data:
                begun = True
                if plain := decoder.decompress(data):
                    yield plain
                data = decoder.unused_data
                if decoder.eof:  # the next member, if any, begins here
                    decoder, begun = zlib.decompressobj(_GZIP), False
    except zlib.error as error:
        raise httpx2.DecodingError(str(error)) from error
    if begun:
        raise httpx2.DecodingError("the compressed body is cut off")


async def rest(reply: HttpResponse, until: float) -> bytes:
    """Return the rest of the body and close the response. Raises the errors of `HttpResponse.read`."""
    parts = []
    try:
        while data := await reply.read(until):
            parts.append(data)
    finally:
        await reply.aclose()
    return b"".join(parts)
