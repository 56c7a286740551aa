"""Randomness that follows from the seed: ids and secrets are the same in each run of a seed."""

from __future__ import annotations

import os
import random

_source = random.Random(0)


def install() -> None:
    """Let `uuid`, `secrets`, and `random` draw from the seed."""
    os.urandom = _draw
    setattr(random, "_urandom", _draw)  # noqa: B010 - mypy knows no such name; `random.SystemRandom` reads it


def reset(seed: int) -> None:
    """Begin anew for a seed."""
    _source.seed(f"entropy {seed}")
    random.seed(f"random {seed}")


def _draw(size: int) -> bytes:
    return _source.randbytes(size)
