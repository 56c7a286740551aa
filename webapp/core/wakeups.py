"""Wake a loop that looks for work when there is some, instead of at its next look."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Wakeup:
    """An event of the running loop that any thread may set."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()

    def set(self) -> None:
        """Wake the loop. Safe from any thread."""
        with suppress(RuntimeError):  # the loop is closed; the next process looks at its start
            self._loop.call_soon_threadsafe(self._event.set)

    def clear(self) -> None:
        """Forget earlier wake-ups. Call it before a look for work, so that work that comes during the look is seen."""
        self._event.clear()

    async def wait(self, seconds: float) -> None:
        """Wait for a wake-up, at most `seconds`."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
