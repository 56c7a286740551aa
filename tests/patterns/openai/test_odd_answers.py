"""Answers that real servers send and strict clients refuse: framing, compression, encodings, token vectors."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from webapp.patterns import errors
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import Request

HELLO = Request.chat([{"role": "user", "content": "hi"}], model="m")
CHOICE = {"index": 0, "message": {"role": "assistant", "content": "Hello"}, "finish_reason": "stop"}
BODY = json.dumps({"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [CHOICE]}).encode()
TWO_MEMBERS = gzip.compress(BODY[:50]) + gzip.compress(BODY[50:])
Ask = Callable[[OpenAIBackend], Awaitable[Any]]


def response(body: bytes, *headers: str) -> bytes:
    head = ["HTTP/1.1 200 OK", "Content-Type: application/json", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


@asynccontextmanager
async def answering(raw: bytes) -> Any:
    """A backend whose server sends these bytes, whatever it is asked."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
        writer.write(raw)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        backend = OpenAIBackend("b", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1")
        yield backend
        await backend.aclose()


async def whole_text(backend: OpenAIBackend) -> str:
    return (await backend.send(HELLO)).text


async def streamed(backend: OpenAIBackend) -> str:
    return "".join([delta.text async for packet in backend.stream(HELLO) for delta in packet.deltas])


@pytest.mark.parametrize("ask", [whole_text, streamed])
@pytest.mark.parametrize(
    "raw",
    [
        response(BODY, f"Content-Length: {len(BODY)}", f"content-length: {len(BODY)}"),
        response(BODY, f"Content-Length: {len(BODY)}, {len(BODY)}"),
        response(b"\xef\xbb\xbf" + BODY, f"Content-Length: {len(BODY) + 3}"),
        response(TWO_MEMBERS, "Content-Encoding: gzip", f"Content-Length: {len(TWO_MEMBERS)}"),
        response(gzip.compress(BODY), "Content-Encoding: gzip"),
    ],
    ids=["a doubled length", "a listed length", "a byte-order mark", "gzip of two members", "gzip of one member"],
)
async def test_an_odd_answer_is_read(raw: bytes, ask: Ask) -> None:
    async with answering(raw) as backend:
        assert await ask(backend) == "Hello"


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (response(BODY, f"Content-Length: {len(BODY)}", "Content-Length: 5"), errors.Unreachable),
        (response(TWO_MEMBERS[:-9], "Content-Encoding: gzip"), errors.BadAnswer),
        (response(b"not gzip", "Content-Encoding: gzip"), errors.BadAnswer),
    ],
)
async def test_an_answer_that_contradicts_itself_is_a_failure(raw: bytes, kind: type[Exception]) -> None:
    async with answering(raw) as backend:
        with pytest.raises(kind):
            await whole_text(backend)


async def test_nan_and_infinity_become_null_and_the_stream_goes_on() -> None:
    events = [
        b'data: {"choices": [{"index": 0, "delta": {"content": "NaN"}, "logprob": NaN, "finish_reason": null}], "x": [-Infinity]}',
        b'data: {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}',
        b"data: [DONE]",
    ]
    raw = response(b"\n\n".join([*events, b""])).replace(b"application/json", b"text/event-stream")
    async with answering(raw) as backend:
        packets = [packet async for packet in backend.stream(HELLO)]
    relayed = b"".join(packet.raw for packet in packets)
    assert b'"logprob": null' in relayed
    assert b'"x": [null]' in relayed
    assert b'"content": "NaN"' in relayed


@pytest.mark.parametrize(
    ("vector", "pooled"),
    [([[1.0, 2.0], [3.0, 4.0]], [2.0, 3.0]), ([[1.0, 2.0]], [1.0, 2.0]), ([1.0, 2.0], [1.0, 2.0])],
)
async def test_vectors_of_tokens_are_averaged(vector: list[Any], pooled: list[float]) -> None:
    raw = response(json.dumps({"object": "list", "data": [{"index": 0, "embedding": vector}]}).encode())
    async with answering(raw) as backend:
        answer = await backend.send(Request.embedding(["x"], model="m"))
    assert answer.body["data"][0]["embedding"] == pooled
    assert json.loads(answer.raw)["data"][0]["embedding"] == pooled


async def test_vectors_of_tokens_of_different_lengths_are_refused() -> None:
    raw = response(json.dumps({"data": [{"embedding": [[1.0], [1.0, 2.0]]}]}).encode())
    async with answering(raw) as backend:
        with pytest.raises(errors.BadAnswer, match="different lengths"):
            await backend.send(Request.embedding(["x"], model="m"))
