"""Measure the cost of a request in this process, and the extra cost of a refused first backend, with a closed and an open breaker.

    python -m bench fallback

CPU time is that of this process over many requests, a few at a time, so the load of other processes has little effect.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx2

from bench.instant import instant_upstream
from webapp.patterns.fallback.breakers import CONSECUTIVE, MemoryBreakers
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.http.transport import PoolTransport
from webapp.patterns.openai.backend import OpenAIBackend, package
from webapp.patterns.types import Request

ROUNDS = 40
REQUESTS, AT_ONCE = 2000, 16
ASK = Request.chat([{"role": "user", "content": "Hi"}])


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def milliseconds(chain: Chain) -> float:
    began = time.perf_counter()
    await chain.send(ASK)
    return (time.perf_counter() - began) * 1000


async def cpu(call: Callable[[], Awaitable[Any]]) -> float:
    """Return microseconds of CPU per call, the best of three rounds."""

    async def worker() -> None:
        for _ in range(REQUESTS // AT_ONCE):
            await call()

    await call()
    rounds = []
    for _ in range(3):
        began = time.process_time()
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        rounds.append((time.process_time() - began) / REQUESTS * 1e6)
    return min(rounds)


async def costs(base_url: str) -> None:
    """Measure the same request with the openai package, httpx2's client, and ours, all over our transport."""
    client = httpx2.AsyncClient(transport=PoolTransport())
    theirs = package().AsyncOpenAI(api_key="none", base_url=base_url, http_client=client)
    backend = OpenAIBackend("good", base_url)
    chain = Chain("direct", [Step(backend, "m")], breakers=MemoryBreakers())
    body: Any = {"model": "m", **ASK.body}
    print(f"CPU of a request, {AT_ONCE} at once:")
    print(f"  the openai package           {await cpu(lambda: theirs.chat.completions.create(**body)):6.0f} µs")
    print(f"  httpx2's client, undecoded   {await cpu(lambda: client.post(f'{base_url}/chat/completions', json=body)):6.0f} µs")
    print(f"  OpenAIBackend.send           {await cpu(lambda: backend.send(Request(body))):6.0f} µs")
    print(f"  a whole chain                {await cpu(lambda: chain.send(ASK)):6.0f} µs")


async def measure(base_url: str) -> None:
    await costs(base_url)
    good = Step(OpenAIBackend("good", base_url), "m")
    dead = Step(OpenAIBackend("dead", f"http://127.0.0.1:{closed_port()}/v1"), "m")
    breakers = MemoryBreakers()
    direct = Chain("direct", [good], breakers=breakers)
    await Chain("warm", [dead, good], breakers=MemoryBreakers()).send(ASK)
    base, first, opened = [], [], []
    for _ in range(ROUNDS):
        breakers.reset("dead")
        chain = Chain("default", [dead, good], breakers=breakers)
        base.append(await milliseconds(direct))
        first.append(await milliseconds(chain))
        for _ in range(CONSECUTIVE - 1):
            await chain.send(ASK)
        base.append(await milliseconds(direct))
        opened.append(await milliseconds(chain))
    plain = statistics.median(base)
    print(f"median of {ROUNDS} requests; straight to the backend that works: {plain:.2f} ms")
    print(f"  first backend refused        +{statistics.median(first) - plain:.2f} ms   (goal: under 5)")
    print(f"  the same, its breaker open   +{statistics.median(opened) - plain:.2f} ms   (goal: under 1)")


def main() -> None:
    with instant_upstream() as base_url:
        asyncio.run(measure(base_url))


if __name__ == "__main__":
    main()
