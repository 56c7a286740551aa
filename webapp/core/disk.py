"""Recognize a full disk, whichever layer reports it."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from typing import Final

from django.db import Error

FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_DATABASE_WORDS: Final = ("disk is full", "no space left")
MIN_FREE_BYTES: Final = 16 * 1024 * 1024
"""With less than this, the database cannot be relied on to commit."""


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether an error, or one that it was raised from, says that the disk or the quota is full."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        if isinstance(error, Error) and any(words in str(error).lower() for words in _DATABASE_WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def disk_problem(folder: Path) -> str:
    """Return what is wrong with the disk that holds `folder`, or an empty text."""
    free = shutil.disk_usage(folder).free
    return f"only {free // 1024**2} MB are free" if free < MIN_FREE_BYTES else ""
