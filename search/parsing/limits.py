"""Bound a process that reads a file of a stranger."""

from __future__ import annotations

import resource


def limit(seconds: int, memory: int) -> None:
    """Bound this process: seconds of CPU, bytes of memory, and no files written."""
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
