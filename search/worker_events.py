"""Wake the ingestion workers of this process. Workers of other processes look for work every few seconds."""

from __future__ import annotations

from webapp.core.wakeups import Wakeup

LOOK_SECONDS = 2.0

_waiting: dict[Wakeup, None] = {}


def wake() -> None:
    """Announce new work. Safe from any thread."""
    for wakeup in list(_waiting):
        wakeup.set()


async def wait(seconds: float = LOOK_SECONDS) -> None:
    """Wait for new work, at most `seconds`."""
    wakeup = Wakeup()
    _waiting[wakeup] = None
    try:
        await wakeup.wait(seconds)
    finally:
        del _waiting[wakeup]
