"""Wake the ingestion workers of this process. Workers of other processes look for work every few seconds."""

from __future__ import annotations

import asyncio

LOOK_SECONDS = 2.0

_waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []


def wake() -> None:
    """Announce new work. Safe from any thread."""
    for loop, event in [*_waiting]:
        if not loop.is_closed():
            loop.call_soon_threadsafe(event.set)


async def wait(seconds: float = LOOK_SECONDS) -> None:
    """Wait for new work, at most `seconds`."""
    entry = (asyncio.get_running_loop(), asyncio.Event())
    _waiting.append(entry)
    try:
        async with asyncio.timeout(seconds):
            await entry[1].wait()
    except TimeoutError:
        return
    finally:
        _waiting.remove(entry)
