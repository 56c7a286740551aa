"""Write quantities for people: "1 token", "5 minutes"."""

from __future__ import annotations

import math

_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def count(number: int, noun: str) -> str:
    """Return `number` with its noun, in the plural unless it is one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def in_largest_unit(seconds: float) -> tuple[int, str]:
    """Return a duration in its largest fitting unit, rounded up, and the name of the unit."""
    size, noun = next((size, noun) for size, noun in _UNITS if seconds > 2 * size or size == 1)
    return max(1, math.ceil(seconds / size)), noun


def duration(seconds: float) -> str:
    """Return a duration in its largest fitting unit, rounded up: "30 seconds", "5 minutes"."""
    return count(*in_largest_unit(seconds))
