"""Measure CPU per chunk of the stream decoder against the openai package on the same bytes. Run `python -m bench decoder [chunks]`."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2

from bench.tokens import event
from webapp.patterns.openai.decoder import StreamDecoder

ROUNDS = 5


class _Replay(httpx2.AsyncByteStream):
    def __init__(self, events: list[bytes]) -> None:
        self._events = events

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for data in self._events:
            yield data


async def ours(events: list[bytes]) -> int:
    decoder = StreamDecoder()
    count = 0
    async for data in _Replay(events):
        packet = decoder.feed(data)
        count += len(packet.deltas) if packet else 0
    return count


async def package(events: list[bytes]) -> int:
    from openai import AsyncOpenAI

    def answer(_request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=_Replay(events))

    client = AsyncOpenAI(api_key="k", base_url="http://x/v1", http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(answer)))
    stream = await client.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}], stream=True)
    return sum([1 async for chunk in stream if chunk.choices[0].delta.content or chunk.choices[0].finish_reason])


async def microseconds(way: Callable[[list[bytes]], Awaitable[int]], events: list[bytes]) -> float:
    """Return CPU microseconds per chunk."""
    began = time.process_time()
    assert await way(events) == len(events)
    return (time.process_time() - began) / len(events) * 1e6


async def measure(chunks: int) -> None:
    events = [event(f" token{number}") for number in range(chunks - 1)] + [event(finish="stop")]
    for way in (ours, package):
        await way(events[-10:])
    rounds = [(await microseconds(ours, events), await microseconds(package, events)) for _ in range(ROUNDS)]
    mine, theirs = (sorted(times)[ROUNDS // 2] for times in zip(*rounds, strict=True))
    print(f"{chunks} chunks, median of {ROUNDS} rounds, CPU a chunk:")
    print(f"  decoder         {mine:8.1f} µs   (goal: at most 15)")
    print(f"  openai package  {theirs:8.1f} µs")
    print(f"  ratio           {theirs / mine:8.1f}      (goal: at least 20)")


def main() -> None:
    asyncio.run(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 3000))


if __name__ == "__main__":
    main()
