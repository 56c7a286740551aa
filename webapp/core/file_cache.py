"""Limit the size of a folder of copies: those that were used the longest ago are deleted. `file_store` uses it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

logger = logging.getLogger("patchbay.files")
USED_SECONDS: Final = 600
"""A copy that was used within this time stays: a reader may be about to open it."""
PAUSE_SECONDS: Final = 300
"""The shortest time between two looks at the folder in one process."""


class _Copy(NamedTuple):
    used_at: float
    size: int
    path: Path


_next_look = 0.0
_looking = threading.Lock()


def mark_used(path: Path) -> None:
    """Note that a copy is used. The file system may not note it by itself, or only once a day."""
    try:
        facts = path.stat()
        if time.time() - facts.st_atime > USED_SECONDS / 10:
            os.utime(path, (time.time(), facts.st_mtime))
    except FileNotFoundError:
        return


def trim_soon(run: Callable[[], object]) -> None:
    """Call `run`, which trims the folder, in a thread, unless this process did so a short time ago."""
    global _next_look  # noqa: PLW0603 - one folder, so one time
    if time.monotonic() < _next_look:
        return
    _next_look = time.monotonic() + PAUSE_SECONDS
    threading.Thread(target=_in_thread, args=(run,), name="file-cache", daemon=True).start()


def trim(paths: Iterable[Path], limit: int, is_stored: Callable[[Path, int], bool]) -> int:
    """Delete files until the rest has at most `limit` bytes; return how many were deleted.

    Args:
        is_stored: whether a file with this size may be deleted, because another place has it.
    """
    copies = sorted(_copies(paths))
    excess, deleted, newest = sum(copy.size for copy in copies) - limit, 0, time.time() - USED_SECONDS
    for copy in copies:
        if excess <= 0 or copy.used_at > newest:
            break
        if is_stored(copy.path, copy.size):
            copy.path.unlink(missing_ok=True)
            excess -= copy.size
            deleted += 1
    return deleted


def _in_thread(run: Callable[[], object]) -> None:
    if not _looking.acquire(blocking=False):
        return
    try:
        run()
    except OSError as error:
        logger.warning("The local copies of files were not trimmed: %s", error)
    finally:
        _looking.release()


def _copies(paths: Iterable[Path]) -> Iterator[_Copy]:
    for path in paths:
        try:
            facts = path.stat()
        except FileNotFoundError:  # deleted meanwhile
            continue
        yield _Copy(max(facts.st_atime, facts.st_mtime), facts.st_size, path)
