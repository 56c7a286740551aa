"""Many callers, one load."""

from __future__ import annotations

import asyncio

import pytest

from webapp.core.caches import SingleFlightCache


class Clock:
    """Seconds that pass when a test says so."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


class Source:
    """Count loads, and answer with their number when `release` is set."""

    def __init__(self) -> None:
        self.loads = 0
        self.release = asyncio.Event()
        self.release.set()

    async def load(self) -> int:
        self.loads += 1
        number = self.loads
        await self.release.wait()
        return number


def make(clock: Clock, **options: int) -> SingleFlightCache[str, int]:
    return SingleFlightCache(fresh=3, stale=2, clock=clock, **options)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_burst_of_callers_waits_for_one_load() -> None:
    cache, source = make(Clock()), Source()
    assert await asyncio.gather(*(cache.get("a", source.load) for _ in range(256))) == [1] * 256
    assert source.loads == 1


async def test_a_stale_value_is_served_while_one_load_replaces_it() -> None:
    clock, source = Clock(), Source()
    cache = make(clock)
    await cache.get("a", source.load)
    clock.now = 4
    source.release.clear()
    assert await asyncio.gather(*(cache.get("a", source.load) for _ in range(100))) == [1] * 100
    source.release.set()
    await settle()
    assert (await cache.get("a", source.load), source.loads) == (2, 2)


async def test_a_value_past_its_time_is_not_used() -> None:
    clock, source = Clock(), Source()
    cache = make(clock)
    await cache.get("a", source.load)
    clock.now = 5
    assert await cache.get("a", source.load) == 2


async def test_a_caller_that_goes_away_does_not_end_the_load_of_the_others() -> None:
    cache, source = make(Clock()), Source()
    source.release.clear()
    first, second = (asyncio.create_task(cache.get("a", source.load)) for _ in range(2))
    await settle()
    first.cancel()
    source.release.set()
    assert await second == 1


async def test_a_failure_reaches_every_caller_and_is_not_kept() -> None:
    cache = make(Clock())

    async def fail() -> int:
        raise OSError("down")

    assert [type(found) for found in await asyncio.gather(*(cache.get("a", fail) for _ in range(3)), return_exceptions=True)] == [
        OSError
    ] * 3
    assert await cache.get("a", Source().load) == 1
    with pytest.raises(OSError, match="down"):
        await cache.get("b", fail)


async def test_the_values_loaded_longest_ago_go_first() -> None:
    cache, source = make(Clock(), max_entries=2), Source()
    for key in "abc":
        await cache.get(key, source.load)
    await cache.get("c", source.load)
    assert source.loads == 3
    assert await cache.get("a", source.load) == 4


async def test_a_load_that_runs_while_the_cache_is_cleared_is_not_stored() -> None:
    cache, source = make(Clock()), Source()
    source.release.clear()
    waiting = asyncio.create_task(cache.get("a", source.load))
    await settle()
    cache.clear()
    source.release.set()
    assert await waiting == 1
    assert await cache.get("a", source.load) == 2
