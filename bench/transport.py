"""Measure CPU per chunk and time to first token of many streams: httpx's connections, ours, and a chain.

Run `python -m bench transport`. The first two read raw bytes. The chain also decodes, bounds, and records.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2

from bench.tokens import token_upstream
from webapp.patterns.fallback.breakers import MemoryBreakers
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.http.transport import PoolTransport
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import Request

STREAMS, TOKENS, PACE = 256, 50, 0.02
ROUNDS = 3
ASK = Request.chat([{"role": "user", "content": "Hi"}])
Way = Callable[[], Awaitable[tuple[float, int]]]


async def first_and_count(pieces: AsyncIterator[int]) -> tuple[float, int]:
    """Return the seconds to the first piece, and the total size."""
    began, first, total = time.perf_counter(), 0.0, 0
    async for count in pieces:
        first = first or time.perf_counter() - began
        total += count
    return first, total


def over(client: httpx2.AsyncClient, base_url: str) -> Way:
    async def pieces() -> AsyncIterator[int]:
        async with client.stream("POST", f"{base_url}/chat/completions", json={"stream": True}) as response:
            async for data in response.aiter_raw():
                yield data.count(b"data: {")

    return lambda: first_and_count(pieces())


def through(chain: Chain) -> Way:
    async def pieces() -> AsyncIterator[int]:
        async for packet in chain.stream(ASK):
            yield len(packet.deltas)

    return lambda: first_and_count(pieces())


async def measure(base_url: str) -> None:
    unlimited = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    backend = OpenAIBackend("bench", base_url)
    ways = {
        "httpx": over(httpx2.AsyncClient(limits=unlimited, timeout=60), base_url),
        "ours": over(httpx2.AsyncClient(transport=PoolTransport(), timeout=60), base_url),
        "ours, a whole chain": through(Chain("bench", [Step(backend, "m")], breakers=MemoryBreakers())),
    }
    costs = {}
    print(f"{STREAMS} streams of {TOKENS} tokens, one each {PACE * 1000:.0f} ms; the best of {ROUNDS} rounds:")
    for name, way in ways.items():
        await way()
        rounds = [await storm(way) for _ in range(ROUNDS)]
        costs[name], first = min(rounds)
        print(f"  {name:20} {costs[name]:6.1f} µs of CPU a chunk, first token after {first * 1000:5.0f} ms at worst")
    print(f"  ratio httpx / ours   {costs['httpx'] / costs['ours']:6.1f}")


async def storm(way: Way) -> tuple[float, float]:
    """Return (CPU microseconds per chunk, longest wait for a first token in seconds)."""
    began = time.process_time()
    results = await asyncio.gather(*(way() for _ in range(STREAMS)))
    cpu = time.process_time() - began
    assert all(count == TOKENS + 1 for _, count in results)
    return cpu / (STREAMS * (TOKENS + 1)) * 1e6, max(first for first, _ in results)


def main() -> None:
    with token_upstream(TOKENS, PACE) as base_url:
        asyncio.run(measure(base_url))


if __name__ == "__main__":
    main()
