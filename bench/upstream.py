"""Serve a bare OpenAI-compatible stream over asyncio for benchmarks, cheap enough not to be the bottleneck.

The request's `max_tokens` is the number of tokens, and `user` the seconds between them ("0" for no delay). Each token is its write time, in
nanoseconds of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"bench"}]}'
EVENT = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","system_fingerprint":null,'
    '"choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}]}\n\n'
)
FIRST = EVENT % ('"role":"assistant","content":""', "null")
LAST = EVENT % ("", '"stop"') + "data: [DONE]\n\n"


def framed(text: str) -> bytes:
    """Return `text` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(text), text.encode())


def token() -> bytes:
    return framed(EVENT % (f'"content":"{time.monotonic_ns()} "', "null"))


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(MODELS), MODELS))
                continue
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = json.loads(await reader.readexactly(length))
            await speak(writer, int(body["max_tokens"]), float(body.get("user") or 0))
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def speak(writer: asyncio.StreamWriter, tokens: int, pace: float) -> None:
    """Write one stream."""
    writer.write(HEAD + framed(FIRST))
    began = time.monotonic()
    for number in range(tokens):
        if pace:
            await asyncio.sleep(max(0.0, began + number * pace - time.monotonic()))
        writer.write(token())
        await writer.drain()
        if not pace:
            await asyncio.sleep(0)
    writer.write(framed(LAST) + b"0\r\n\r\n")
    await writer.drain()


async def main(port: int) -> None:
    async with await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
