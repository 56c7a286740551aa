"""Cache values that are loaded from the database while many requests wait for them."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class SingleFlightCache(Generic[K, V]):
    """Load a missing value once, however many callers wait for it, and refresh it before they have to wait.

    A value younger than `fresh` seconds is returned as it is. For `stale` more seconds it is still returned, and one load in the background
    replaces it. An older value is not used: every caller waits for the same load.

    Args:
        fresh: seconds in which a value is used without a load.
        stale: seconds after that in which it is used while a load runs.
        max_entries: values kept; the ones loaded longest ago go first.
        clock: returns seconds, as `time.monotonic` does.
    """

    def __init__(self, *, fresh: float, stale: float, max_entries: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._fresh, self._stale, self._max_entries, self._clock = fresh, stale, max_entries, clock
        self._values: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._loads: dict[K, asyncio.Task[V]] = {}

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """Return the value of `key`. What `load` raises reaches every caller that waits for it, and is not cached."""
        found = self._values.get(key)
        age = self._clock() - found[0] if found else float("inf")
        if found and age < self._fresh:
            return found[1]
        task = self._load(key, load)
        if found and age < self._fresh + self._stale:
            return found[1]
        return await asyncio.shield(task)  # a caller that goes away must not end the load of the others

    def __len__(self) -> int:
        """Return how many values are kept."""
        return len(self._values)

    def clear(self) -> None:
        """Forget every value. A load that is running now is not stored."""
        self._values.clear()
        self._loads.clear()

    def _load(self, key: K, load: Callable[[], Awaitable[V]]) -> asyncio.Task[V]:
        task = self._loads.get(key)
        if task is None or task.get_loop() is not asyncio.get_running_loop():
            task = self._loads[key] = asyncio.ensure_future(_run(load))
            started = self._clock()
            task.add_done_callback(lambda done: self._store(key, done, started))
        return task

    def _store(self, key: K, task: asyncio.Task[V], started: float) -> None:
        if self._loads.get(key) is not task:
            return
        del self._loads[key]
        if task.cancelled() or task.exception() is not None:
            return
        self._values[key] = (started, task.result())
        self._values.move_to_end(key)
        while len(self._values) > self._max_entries:
            self._values.popitem(last=False)


async def _run(load: Callable[[], Awaitable[V]]) -> V:
    return await load()
