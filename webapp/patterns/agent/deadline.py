"""A time limit over everything that the tool loop awaits."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


class OutOfTimeError(Exception):
    """Report that the loop's time is over. Never leaves the loop."""


class Deadline:
    """Cancel the code inside `wait` when the time is over. One timer for the whole loop, so that a chunk costs almost nothing."""

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + seconds
        self._waiting: asyncio.Task[Any] | None = None
        self._passed = False

    def __enter__(self) -> None:
        self._timer = self._loop.call_at(self._at, self._expire)

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()

    @property
    def left(self) -> float:
        """Return the seconds that are left."""
        return self._at - self._loop.time()

    def check(self) -> None:
        """Raise `OutOfTimeError` once the time is over."""
        if self._passed:
            raise OutOfTimeError

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Await something until the time is over.

        Raises:
            OutOfTimeError: it is.
        """
        task = asyncio.current_task()
        assert task
        others = task.cancelling()
        self._waiting = task
        try:
            return await awaitable
        except asyncio.CancelledError:
            # Suppress only our own cancellation, and pass on any other.
            if self._passed and task.uncancel() <= others:
                raise OutOfTimeError from None
            raise
        finally:
            self._waiting = None

    def _expire(self) -> None:
        self._passed = True
        if self._waiting:
            self._waiting.cancel()
