"""What a refused first backend adds to a request: the first time, and once its breaker is open. `python -m bench fallback`"""

from __future__ import annotations

import asyncio
import socket
import statistics
import time

from bench.instant import instant_upstream
from webapp.patterns.breakers import CONSECUTIVE, MemoryBreakers
from webapp.patterns.fallback import Chain, Step
from webapp.patterns.providers.openai import OpenAIBackend
from webapp.patterns.types import Request

ROUNDS = 40
ASK = Request.chat([{"role": "user", "content": "Hi"}])


def closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


async def milliseconds(chain: Chain) -> float:
    began = time.perf_counter()
    await chain.send(ASK)
    return (time.perf_counter() - began) * 1000


async def measure(base_url: str) -> None:
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
