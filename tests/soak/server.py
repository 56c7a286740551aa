"""The server under test: killed and started again at random, its memory watched."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from random import Random
from statistics import median

from tests.live import Live

BETWEEN_KILLS = (4.0, 12.0)
SAMPLE_SECONDS = 0.5


@dataclass
class Server:
    """`over` is set when the users should come to an end.

    `kills` holds for each the moment before the signal and the moment before the next start: in between, an upstream may give whole
    answers to a process that dies or is dead.
    """

    live: Live
    random: Random
    kills: list[tuple[float, float]] = field(default_factory=list)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def suffer(self, seconds: float) -> None:
        """Be killed at random, again and again."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            await asyncio.sleep(min(left, self.random.uniform(*BETWEEN_KILLS)))
            await self._killed()

    async def _killed(self) -> None:
        process = self.live.process
        assert process is not None
        assert process.poll() is None, f"the server ended by itself:\n{self.live.output()[-5000:]}"
        began = time.monotonic()
        await asyncio.to_thread(self.live.kill)
        await asyncio.sleep(self.random.uniform(0, 0.5))
        self.kills.append((began, time.monotonic()))
        await asyncio.to_thread(self.live.start)

    async def memory(self, seconds: float) -> list[float]:
        """Its memory in MB, sampled for a while."""
        samples = []
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await asyncio.sleep(SAMPLE_SECONDS)
            samples.append(self.live.memory_mb())
        return samples


def drift(samples: list[float]) -> float:
    """Return by which share the last third of the samples exceeds the first."""
    third = len(samples) // 3
    return median(samples[-third:]) / median(samples[:third]) - 1
