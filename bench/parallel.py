"""Compare `run_parallel` with a semaphore and gather over the openai package, and measure its memory from 10,000 to 100,000 requests.

    python -m bench parallel [requests]

Both send the same requests to the same instant upstream, 64 at a time, in alternating rounds.
"""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable

from bench.instant import instant_upstream
from webapp.patterns.batch.parallel import run
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import Request

AT_ONCE = 64
ROUNDS = 3


async def simple(base_url: str, count: int) -> int:
    """Send with the reference: the "Batch Requests (Parallel)" pattern."""
    from openai import AsyncOpenAI

    client = AsyncOpenAI(base_url=base_url, api_key="k")
    semaphore = asyncio.Semaphore(AT_ONCE)

    async def process_one(number: int) -> str | None:
        async with semaphore:
            response = await client.chat.completions.create(
                model="m", messages=[{"role": "user", "content": f"Question {number}"}], temperature=0.0
            )
            return response.choices[0].message.content

    answers = await asyncio.gather(*[process_one(number) for number in range(count)])
    await client.close()
    return sum(answer == "An instant answer." for answer in answers)


async def ours(base_url: str, count: int) -> int:
    """Send the same through `run_parallel` and a backend."""
    backend = OpenAIBackend("bench", base_url, api_key="k")

    async def ask(number: int) -> str:
        request = Request.chat([{"role": "user", "content": f"Question {number}"}], model="m", temperature=0.0)
        return (await backend.send(request)).text

    right = 0
    async for result in run(range(count), ask, concurrency=AT_ONCE):
        right += result.unwrap() == "An instant answer."
    await backend.aclose()
    return right


def per_second(way: Callable[[str, int], Awaitable[int]], base_url: str, count: int) -> tuple[float, float]:
    """Return requests per second of wall clock and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    right = asyncio.run(_checked(way, base_url, count))
    assert right == count
    return count / (time.perf_counter() - wall), count / (time.process_time() - cpu)


async def _checked(way: Callable[[str, int], Awaitable[int]], base_url: str, count: int) -> int:
    return await way(base_url, count)


def peak_memory(count: int, base_url: str) -> float:
    """Return the peak memory in MB of a new process that sends `count` requests."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.parallel", "memory", base_url, str(count)], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def main() -> None:
    requests = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with instant_upstream() as base_url:
        for way in (simple, ours):
            per_second(way, base_url, 200)
        rounds = [(per_second(simple, base_url, requests // ROUNDS), per_second(ours, base_url, requests // ROUNDS)) for _ in range(ROUNDS)]
        wall, cpu = (sorted(mine[by] / reference[by] for reference, mine in rounds)[ROUNDS // 2] for by in (0, 1))
        reference, mine = (sorted(one[which][0] for one in rounds)[ROUNDS // 2] for which in (0, 1))
        print(f"{requests:,} requests, {AT_ONCE} at a time: {mine:,.0f}/s; semaphore and gather with openai: {reference:,.0f}/s")
        print(f"  throughput {wall:.2f}x by the clock, {cpu:.2f}x by CPU time (goal: 1.5x)")
        small, large = peak_memory(requests // 10, base_url), peak_memory(requests, base_url)
        print(f"  peak memory {small:.0f} MB at {requests // 10:,}, {large:.0f} MB at {requests:,}: {large / small:.2f}x (goal: flat)")


if __name__ == "__main__":
    if sys.argv[1:2] == ["memory"]:
        asyncio.run(ours(sys.argv[2], int(sys.argv[3])))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    else:
        main()
