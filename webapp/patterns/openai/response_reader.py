"""Read responses: streams into chunks, bodies into answers, failures into errors; bounded in bytes and time."""

from __future__ import annotations

import asyncio
import codecs
import math
import re
from collections.abc import AsyncGenerator
from typing import Any, Final

import httpx2

from webapp.patterns import errors
from webapp.patterns.backend import Timeouts
from webapp.patterns.http.response import HttpResponse
from webapp.patterns.openai import error_mapping, normalize
from webapp.patterns.openai.choices import Failure, decode, encode
from webapp.patterns.openai.decoder import is_error
from webapp.patterns.openai.exchange import Exchange, check_choices
from webapp.patterns.redaction import Redactor
from webapp.patterns.types import Delta, Json, Response, StreamChunk

LATE: Final = "The answer did not come in time."
MAX_ANSWER: Final = 256 * 1024 * 1024
"""Maximum bytes of a complete answer. 2,048 embeddings of 3,072 dimensions are half of that."""
MAX_STREAM: Final = 256 * 1024 * 1024
"""Maximum bytes of a stream."""
MAX_SILENCE: Final = 1_048_576
"""Maximum bytes of a stream before its first content."""
_AFTER_FINISH: Final = 5.0
"""Seconds to wait for usage and `[DONE]` after the end of the answer."""
_AFTER_DONE: Final = 0.05
"""Seconds to wait for the end of the body after `[DONE]`, so that the connection can be reused."""
_KEPT_HEADERS: Final = re.compile(rb"x-request-id$|x-ratelimit-|openai-", re.IGNORECASE)


class PacketReader:
    """Turn the body of a streamed response into chunks.

    Before the first content, events are held back: a failure up to there leaves the caller with nothing, and the next step of a chain can
    be tried. Raises `StreamBroken` after it.
    """

    def __init__(
        self,
        reply: HttpResponse,
        limits: Timeouts,
        deadline: float,
        redactor: Redactor,
        exchange: Exchange,
        *,
        max_stream: int = MAX_STREAM,
    ) -> None:
        self._reply = reply
        self._limits = limits
        self._deadline = deadline
        self._clock = asyncio.get_running_loop().time
        self._end = self._clock() + limits.total
        self._redactor = redactor
        self._exchange = exchange
        self._content_type = ""
        self._decoder = exchange.decoder()
        self._left = max_stream
        self._held: list[StreamChunk] = []
        self._held_bytes = 0
        self._spoke = False

    @property
    def done(self) -> bool:
        """Return whether the server has ended the stream."""
        return self._decoder.done

    async def packets(self) -> AsyncGenerator[StreamChunk, None]:
        """Yield the chunks, the first with content. Ends when the server ended a finished answer."""
        try:
            data = await self._first()
            while data:
                packet = self._take(data)
                if packet:
                    yield packet
                if self._decoder.error is not None:
                    raise error_mapping.reported(self._decoder.error, self._redactor)
                if self._decoder.done:
                    break
                data = await self._more()
            for packet in self._last():
                yield packet
            if self._decoder.done:
                await self._drain()
        except errors.BackendError as error:
            if self._spoke:
                raise errors.StreamBroken(error.message, status=error.status, body=error.body) from error
            raise

    async def _first(self) -> bytes:
        """Return the first bytes. If the server did not stream, return its complete answer as a stream."""
        data = await self._read()
        if self._exchange.opaque:
            return self._opaque(data)
        start = data.removeprefix(codecs.BOM_UTF8).lstrip()[:1]
        if start == b"<":
            raise errors.BadAnswer("The server answered with an HTML page instead of a stream.", status=200)
        if start not in {b"{", b"["}:
            return data
        parts = [data]
        while data := await self._read():
            parts.append(data)
        body, _ = read_json(b"".join(parts), self._redactor)
        return self._exchange.as_events(body)

    def _opaque(self, data: bytes) -> bytes:
        """Return the first bytes of an answer that passes as it comes; the content type goes with its first chunk."""
        kind = content_type(self._reply)
        if kind.startswith("text/html"):
            raise errors.BadAnswer("The server answered with an HTML page.", status=200)
        self._content_type = kind or "application/octet-stream"
        return data

    async def _more(self) -> bytes:
        try:
            return await self._read()
        except errors.BackendError:
            if self._decoder.finished:  # the answer is complete, so a failure now is harmless
                return b""
            raise

    async def _read(self) -> bytes:
        """Return the next bytes; empty at the end."""
        try:
            data = await self._reply.read(min(self._deadline, self._end))
        except TimeoutError:
            raise errors.TimedOut(self._late()) from None
        except httpx2.HTTPError as error:
            raise unreachable(error, self._redactor) from None
        self._left -= len(data)
        if self._left < 0:
            raise errors.BadAnswer("The stream is longer than any answer may be.")
        return data

    def _late(self) -> str:
        if self._clock() >= self._end:
            return f"The answer took longer than {self._limits.total:g} s."
        if self._spoke:
            return f"Nothing came for {self._limits.idle:g} s in mid-stream."
        return f"No content came within {self._limits.first_token:g} s."

    def _take(self, data: bytes) -> StreamChunk | None:
        packet = self._decoder.feed(data)
        if packet is None:
            return None
        if packet.deltas or self._exchange.opaque:
            self._deadline = self._clock() + (min(_AFTER_FINISH, self._limits.idle) if self._decoder.finished else self._limits.idle)
        return packet if self._spoke else self._hold(packet)

    def _hold(self, packet: StreamChunk) -> StreamChunk | None:
        """Hold back everything before the first content, and release it with the first."""
        self._held.append(packet)
        self._held_bytes += len(packet.raw)
        if self._exchange.opaque or any(delta.has_content for delta in packet.deltas):
            return self._release()
        if self._held_bytes > MAX_SILENCE:
            raise errors.BadAnswer(f"The stream brought {MAX_SILENCE} bytes and no content.")
        return None

    def _release(self) -> StreamChunk:
        held, self._held, self._spoke = self._held, [], True
        deltas: list[Delta] = [delta for packet in held for delta in packet.deltas]
        return StreamChunk(
            b"".join(packet.raw for packet in held), tuple(deltas), protocol=held[-1].protocol, content_type=self._content_type
        )

    def _last(self) -> list[StreamChunk]:
        """Return the rest at the end of a finished stream.

        Raises:
            BadAnswer: it is not finished.
        """
        last = self._decoder.close()
        if last:
            self._held.append(last)
        if self._decoder.error is not None:
            raise error_mapping.reported(self._decoder.error, self._redactor)
        if not self._decoder.finished:
            raise errors.BadAnswer("The stream ended before the answer was finished.", status=200)
        return [self._release()] if self._held else []

    async def _drain(self) -> None:
        """Read the end of the body and ignore it, because the answer is complete."""
        self._deadline = min(self._end, self._clock() + _AFTER_DONE)
        try:
            while await self._read():
                pass
        except errors.BackendError:
            return


async def chunks(reply: HttpResponse, deadline: float, idle: float, redactor: Redactor) -> AsyncGenerator[bytes, None]:
    """Yield the body's bytes until the deadline (by the loop's clock), with at most `idle` seconds between two of them."""
    clock = asyncio.get_running_loop().time
    while data := await _next(reply, min(deadline, clock() + idle), redactor):
        yield data


async def read_whole(reply: HttpResponse, deadline: float, redactor: Redactor, *, idle: float = math.inf, limit: int = MAX_ANSWER) -> bytes:
    """Return the whole body: its beginning until the deadline (by the loop's clock), then with at most `idle` seconds between pieces."""
    parts, size, until = [], 0, deadline
    clock = asyncio.get_running_loop().time
    while data := await _next(reply, until, redactor):
        parts.append(data)
        size += len(data)
        if size > limit:
            raise errors.BadAnswer("The answer is longer than any answer may be.")
        until = min(deadline, clock() + idle)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def _next(reply: HttpResponse, until: float, redactor: Redactor) -> bytes:
    try:
        return await reply.read(until)
    except TimeoutError:
        raise errors.TimedOut(LATE) from None
    except httpx2.HTTPError as error:
        raise unreachable(error, redactor) from None


async def read_object(reply: HttpResponse, deadline: float, redactor: Redactor) -> Json:
    """Read a JSON object that reports no error; a bare list becomes its `data`."""
    return read_json(await read_whole(reply, deadline, redactor), redactor)[0]


async def read_answer(
    reply: HttpResponse, path: str, deadline: float, idle: float, redactor: Redactor, *, legacy: bool = False
) -> Response:
    """Read a whole answer with something in it, repaired as streams are (`choices`).

    Args:
        legacy: the request asked with `functions`.
    """
    raw = await read_whole(reply, deadline, redactor, idle=idle)
    body, odd = read_json(raw, redactor)
    if path in normalize.STREAMING:
        check_choices(body)
        try:
            odd |= normalize.normalize_response(body, legacy=legacy)
        except Failure as failure:
            raise _failed(failure, redactor) from None
    elif path == "embeddings":
        odd |= _pool(body)
    return Response(encode(body) if odd else raw, body, kept_headers(reply))


async def read_opaque(reply: HttpResponse, deadline: float, idle: float, redactor: Redactor) -> Response:
    """Read a whole answer of any kind. JSON that reports an error, and a page where something else was asked for, are failures."""
    raw = await read_whole(reply, deadline, redactor, idle=idle)
    kind = content_type(reply)
    if kind.startswith("text/html"):
        raise errors.BadAnswer("The server answered with an HTML page.", status=200)
    if kind.startswith("application/json") and raw.lstrip()[:1] in {b"{", b"["}:
        body, odd = read_json(raw, redactor)
        return Response(encode(body) if odd else raw, body, kept_headers(reply))
    return Response(raw, {}, kept_headers(reply), content_type=kind or "application/octet-stream")


def content_type(reply: HttpResponse) -> str:
    """Return the answer's content type; empty where the server gives none."""
    return next((value.decode("latin-1") for name, value in reply.headers if name.lower() == b"content-type"), "")


def _pool(body: Json) -> bool:
    """Average vectors that came one a token, as servers without pooling send them; return whether there were any.

    Raises:
        BadAnswer: the answer holds no embeddings, or token vectors of different lengths.
    """
    data = body.get("data")
    if not isinstance(data, list) or not data:
        raise errors.BadAnswer("The answer holds no embeddings.", status=200)
    pooled = False
    for item in data:
        vector = item.get("embedding") if isinstance(item, dict) else None
        if isinstance(vector, list) and vector and isinstance(vector[0], list):
            item["embedding"] = _mean(vector)
            pooled = True
    return pooled


def _mean(vectors: list[Any]) -> list[float]:
    try:
        return [sum(column) / len(vectors) for column in zip(*vectors, strict=True)]
    except (TypeError, ValueError):
        raise errors.BadAnswer("The answer holds token vectors of different lengths in the place of an embedding.", status=200) from None


def _failed(failure: Failure, redactor: Redactor) -> errors.BackendError:
    if isinstance(failure.error, dict):
        return error_mapping.reported({"error": failure.error}, redactor)
    return errors.BadAnswer(redactor.text(str(failure.error)), status=200)


def kept_headers(reply: HttpResponse) -> dict[str, str]:
    """Return the headers to keep, with lower-case names. Of several with one name, the last counts."""
    kept = [(name, value) for name, value in reply.headers if _KEPT_HEADERS.match(name)]
    return {name.decode("ascii").lower(): value.decode("latin-1") for name, value in kept}


def read_json(raw: bytes, redactor: Redactor) -> tuple[Json, bool]:
    """Return a JSON object that reports no error, and whether it has to be written anew for clients."""
    if raw.lstrip()[:1] == b"<":
        raise errors.BadAnswer("The server answered with an HTML page instead of JSON.", status=200)
    try:
        body, odd = decode(raw)
    except (ValueError, RecursionError):
        raise errors.BadAnswer("The server answered with broken JSON.", status=200) from None
    if isinstance(body, list):
        body, odd = {"object": "list", "data": body}, True
    if not isinstance(body, dict):
        raise errors.BadAnswer("The server answered with JSON that is not an object.", status=200)
    if is_error(body, has_choices="choices" in body or "data" in body):
        raise error_mapping.reported(body, redactor)
    return body, odd


def unreachable(error: BaseException, redactor: Redactor) -> errors.BackendError:
    """Return the error for a failure of the transport."""
    text = redactor.text(_reason(error))
    if isinstance(error, httpx2.ConnectTimeout):
        return errors.ConnectTimedOut("Could not connect in time.")
    if isinstance(error, httpx2.TimeoutException):
        return errors.TimedOut("The server did not answer in time.")
    if isinstance(error, httpx2.ConnectError | httpx2.UnsupportedProtocol | httpx2.InvalidURL | httpx2.ProxyError):
        return errors.Unreachable(f"Could not connect: {text}")
    if isinstance(error, httpx2.DecodingError):
        return errors.BadAnswer(f"The answer cannot be decompressed: {text}")
    return errors.Unreachable(f"The connection broke: {text}")


def _reason(error: BaseException) -> str:
    """Return the outermost reason with a text."""
    while not str(error) and error.__cause__ is not None:
        error = error.__cause__
    return " ".join((str(error) or type(error).__name__).split())[:300]
