"""Serve whole answers and streams of chat completions, Responses, and Messages for benchmarks. Too cheap to be the bottleneck.

The request's `max_tokens` (`max_output_tokens` of Responses) is the number of tokens, and `user` the seconds between them ("0" for no
delay). Each token is its write time, in nanoseconds of the machine's monotonic clock.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from typing import cast

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
MODELS = b'{"object":"list","data":[{"id":"m","object":"model","created":1,"owned_by":"bench"}]}'
EVENT = (
    'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","system_fingerprint":null,'
    '"choices":[{"index":0,"delta":{%s},"logprobs":null,"finish_reason":%s}]}\n\n'
)
FIRST = EVENT % ('"role":"assistant","content":""', "null")
LAST = EVENT % ("", '"stop"') + "data: [DONE]\n\n"
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":"An instant answer.","refusal":null},"logprobs":null,"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13}}'
)
LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
STREAM = re.compile(rb'"stream": ?true')
TOKENS = re.compile(rb'"max_(?:output_|completion_)?tokens": ?(\d+)')
PACE = re.compile(rb'"user": ?"([\d.]+)"')


RESPONSE = '{"id":"resp_1","object":"response","created_at":1700000000,"status":"%s","model":"m","output":[%s]}'
ITEM = '{"id":"msg_1","type":"message","role":"assistant","status":"%s","content":[%s]}'
PLACE = '"item_id":"msg_1","output_index":0,"content_index":0'


def event(kind: str, number: int, fields: str) -> str:
    """Return one event of a Responses stream."""
    return f'event: response.{kind}\ndata: {{"type":"response.{kind}","sequence_number":{number},{fields}}}\n\n'


def framed(text: str) -> bytes:
    """Return `text` as one chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(text), text.encode())


class ChatStream:
    """The pieces of a streamed chat completion."""

    first = FIRST
    last = LAST

    def token(self) -> str:
        return EVENT % (f'"content":"{time.monotonic_ns()} "', "null")


class ResponseStream:
    """The pieces of a streamed response."""

    def __init__(self) -> None:
        self._number = 3
        begun = f'"response":{RESPONSE % ("in_progress", "")}'
        item = f'"output_index":0,"item":{ITEM % ("in_progress", "")}'
        part = f'{PLACE},"part":{{"type":"output_text","text":"","annotations":[],"logprobs":[]}}'
        opening = [("created", begun), ("in_progress", begun), ("output_item.added", item), ("content_part.added", part)]
        self.first = "".join(event(kind, number, fields) for number, (kind, fields) in enumerate(opening))

    def token(self) -> str:
        self._number += 1
        return event("output_text.delta", self._number, f'{PLACE},"logprobs":[],"delta":"{time.monotonic_ns()} "')

    @property
    def last(self) -> str:
        usage = '"usage":{"input_tokens":1,"output_tokens":1,"total_tokens":2}'
        ended = RESPONSE % ("completed", ITEM % ("completed", ""))
        return event("completed", self._number + 1, f'"response":{ended[:-1]},{usage}}}')


class MessageStream:
    """The pieces of a streamed message."""

    first = (
        'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m",'
        '"content":[],"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}\n\n'
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n'
    )
    last = (
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":1}}\n\n'
        'event: message_stop\ndata: {"type":"message_stop"}\n\n'
    )

    def token(self) -> str:
        delta = f'"delta":{{"type":"text_delta","text":"{time.monotonic_ns()} "}}'
        return f'event: content_block_delta\ndata: {{"type":"content_block_delta","index":0,{delta}}}\n\n'


Stream = ChatStream | ResponseStream | MessageStream


class Connection(asyncio.Protocol):
    """One connection. Bodies are searched, not decoded: long prompts must not make the upstream the bottleneck."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._can_write = asyncio.Event()
        self._can_write.set()
        self._streams: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def pause_writing(self) -> None:
        self._can_write.clear()

    def resume_writing(self) -> None:
        self._can_write.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        self._can_write.set()
        for stream in self._streams:
            stream.cancel()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._buffer[:end])
            length = int(found[1]) if (found := LENGTH.search(head)) else 0
            if len(self._buffer) < end + 4 + length:
                return
            body = bytes(self._buffer[end + 4 : end + 4 + length])
            del self._buffer[: end + 4 + length]
            self._answer(head, body)

    def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            self.write(whole(MODELS))
        elif not STREAM.search(body):
            self.write(whole(ANSWER))
        else:
            pace = float(found[1]) if (found := PACE.search(body)) else 0.0
            tokens = int(found[1]) if (found := TOKENS.search(body)) else 1
            task = asyncio.ensure_future(speak(self, _stream_for(head), tokens, pace))
            self._streams.add(task)
            task.add_done_callback(self._streams.discard)

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the client has read most of the data."""
        await self._can_write.wait()


def whole(body: bytes) -> bytes:
    """Return a complete JSON response."""
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def _stream_for(head: bytes) -> Stream:
    path = head.split(b"\r\n", 1)[0]
    if b"/responses" in path:
        return ResponseStream()
    return MessageStream() if b"/messages" in path else ChatStream()


async def speak(writer: Connection, stream: Stream, tokens: int, pace: float) -> None:
    """Write one stream."""
    writer.write(HEAD + framed(stream.first))
    began = time.monotonic()
    for number in range(tokens):
        if pace:
            await asyncio.sleep(max(0.0, began + number * pace - time.monotonic()))
        writer.write(framed(stream.token()))
        await writer.drain()
        if not pace:
            await asyncio.sleep(0)
    writer.write(framed(stream.last) + b"0\r\n\r\n")
    await writer.drain()


async def main(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
