"""The chat's writer without a thread of its own: its turns run in a simulated thread."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any

from chat.streaming.event_writer import Writer


class _Wake:
    """An `asyncio.Event` with the interface of `threading.Event` that the writer uses."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def set(self) -> None:
        self._event.set()

    async def wait_and_clear(self, seconds: float) -> None:
        """Wait until it is set, at most for some time, and clear it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()


class SimulatedWriter(Writer):
    """Run the turns of the product's writer one after the other."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._wake: Any = _Wake()
        self._lane = object()
        self._driver: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._driver = asyncio.ensure_future(self._drive())

    async def stop(self) -> None:
        self._stopping = True
        self._wake.set()
        if self._driver:
            await self._driver

    async def _drive(self) -> None:
        while not self._stopping or self._jobs:
            await self._wake.wait_and_clear(max(0.0, self._due - time.monotonic()))
            await self._in_thread(self._turn)
        await self._in_thread(self._finish)

    async def _in_thread(self, run: Callable[[], None]) -> None:
        await self._loop.run_in_executor(self._lane, run)  # type: ignore[arg-type]  # the simulated loop takes any key
