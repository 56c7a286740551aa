"""Virtual time: one monotonic clock for all processes, and a wall clock for each that may jump."""

from __future__ import annotations

import time
from datetime import UTC, datetime

EPOCH = 1_800_000_000.0
"""The wall clock at the start of a run, in seconds since 1970."""


class VirtualClock:
    """The time of a run.

    Attributes:
        elapsed: seconds since the start of the run.
        offset: seconds by which the wall clock of the current process differs from the right time.
    """

    def __init__(self) -> None:
        self.elapsed = 0.0
        self.offset = 0.0

    def reset(self) -> None:
        """Go back to the start of a run."""
        self.elapsed = self.offset = 0.0

    def monotonic(self) -> float:
        """Return the seconds of a clock that never jumps. It is not zero at the start, as on real machines."""
        return 1000.0 + self.elapsed

    def wall(self) -> float:
        """Return the seconds since 1970 as the current process believes."""
        return EPOCH + self.elapsed + self.offset

    def now(self) -> datetime:
        """Return the same as a date and time."""
        return datetime.fromtimestamp(self.wall(), UTC)


clock = VirtualClock()
"""The clock of the run."""


def install() -> None:
    """Let Python and Django read the virtual clock. Call it before the product is imported: models keep references to `timezone.now`."""
    from django.utils import timezone

    time.time = clock.wall
    time.monotonic = clock.monotonic
    time.perf_counter = clock.monotonic
    time.time_ns = lambda: int(clock.wall() * 1e9)
    time.monotonic_ns = lambda: int(clock.monotonic() * 1e9)
    timezone.now = clock.now
