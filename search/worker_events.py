"""Tells the ingestion workers of this process that there is work; other processes find it when they look, every few seconds."""

from __future__ import annotations

import asyncio

LOOK_SECONDS = 2.0

_waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()


def wake() -> None:
    """There is work. Safe from any thread."""
    for loop, event in list(_waiting):
        if not loop.is_closed():
            loop.call_soon_threadsafe(event.set)


async def wait(seconds: float = LOOK_SECONDS) -> None:
    """Until there is work, or `seconds` have passed."""
    entry = (asyncio.get_running_loop(), asyncio.Event())
    _waiting.add(entry)
    try:
        async with asyncio.timeout(seconds):
            await entry[1].wait()
    except TimeoutError:
        return
    finally:
        _waiting.discard(entry)
