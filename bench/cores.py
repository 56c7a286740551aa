"""Compare two workers that share a port with one, by CPU: `python -m bench cores [seconds]`.

Throughput shows the load generator and other work of the machine, too, so the CPU of each process counts. Workers with a core each serve
as much as the busiest of them lets them: `gain` is how many times what one worker serves.
"""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import django

from bench import requests, servers
from bench.instant import instant_upstream

if TYPE_CHECKING:
    from tests.live import Live

CONNECTIONS: Final = (32, 256)
SECONDS: Final = 6.0
WARM_SECONDS: Final = 1.0
GOAL: Final = 1.8


@dataclass(frozen=True, slots=True)
class Cost:
    """The CPU of a request in seconds: of all processes, and of the busiest one."""

    total: float
    busiest: float


@contextmanager
def served(base_url: str, workers: int) -> Iterator[tuple[Live, str]]:
    """Run a server with some workers; yield it and a token."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.live import MAKE_CAST, PREPARE, Live

    with tempfile.TemporaryDirectory() as home:
        live = Live(Path(home), workers=workers)
        for code in (PREPARE, MAKE_CAST):
            live.run_python(code)
        live.manage("add_backend", "--name", "up", "--base-url", base_url)
        live.manage("add_route", "--name", "m", "--step", "up/m")
        token = live.manage("create_token", "--user", "owner").stdout.strip()
        live.start()
        try:
            yield live, token
        finally:
            live.stop()


async def cost(live: Live, token: str, connections: int, seconds: float) -> Cost:
    """Return the CPU of a short answer over these connections."""
    assert live.process
    target = servers.Target("patchbay", live.port, token, live.process.pid)
    asked = [requests.request(target, content="hi")]
    await requests.run(target, asked, connections, WARM_SECONDS)
    before = target.cpu_by_process()
    load = await requests.run(target, asked, connections, seconds)
    if load.failed:
        raise SystemExit(f"{load.failed} requests failed")
    used = [now - before.get(pid, 0.0) for pid, now in target.cpu_by_process().items()]
    return Cost(sum(used) / len(load.times), max(used) / len(load.times))


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else SECONDS
    found: dict[int, list[Cost]] = {}
    with instant_upstream() as base_url:
        for workers in (1, 2):
            with served(base_url, workers) as (live, token):
                found[workers] = [asyncio.run(cost(live, token, connections, seconds)) for connections in CONNECTIONS]
    for connections, one, two in zip(CONNECTIONS, found[1], found[2], strict=True):
        share = two.busiest / two.total * 100
        print(f"{connections} connections: {one.total * 1000:.2f} ms of CPU by one worker, {two.total * 1000:.2f} ms by two", end="; ")
        print(f"the busiest has {share:.0f} % of it; gain {one.busiest / two.busiest:.2f} (goal {GOAL})", flush=True)


if __name__ == "__main__":
    main()
