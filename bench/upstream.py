"""Serve bare streams over asyncio for benchmarks: chat completions, Responses, and Messages. Too cheap to be the bottleneck.

The request's `max_tokens` (`max_output_tokens` of Responses) is the number of tokens, and `user` the seconds between them ("0" for no
delay). Each token is its write time, in nanoseconds of the machine's monotonic clock.
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


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection."""
    try:
        while head := await reader.readuntil(b"\r\n\r\n"):
            if head.startswith(b"GET"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(MODELS), MODELS))
                continue
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            body = json.loads(await reader.readexactly(length))
            pace = float(body.get("user") or 0)
            if b"/responses" in head.split(b"\r\n", 1)[0]:
                await speak(writer, ResponseStream(), int(body["max_output_tokens"]), pace)
            elif b"/messages" in head.split(b"\r\n", 1)[0]:
                await speak(writer, MessageStream(), int(body["max_tokens"]), pace)
            else:
                await speak(writer, ChatStream(), int(body["max_tokens"]), pace)
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def speak(writer: asyncio.StreamWriter, stream: ChatStream | ResponseStream | MessageStream, tokens: int, pace: float) -> None:
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
    async with await asyncio.start_server(serve, "127.0.0.1", port, backlog=1024) as server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
