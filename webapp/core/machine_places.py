"""Share a number of places among the processes of one machine.

Each place is a lock on a file. The kernel releases it when the process that holds it ends, however it ends, so no place is ever lost.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Final

POLL_SECONDS: Final = 0.01
"""How often a waiting process looks for a place that another process has left. Its own are noticed at once."""


class MachinePlaces:
    """Places in the manner of `asyncio.Semaphore`, shared by all processes that use the same folder.

    Args:
        folder: holds one file for each place; it is made where it is missing.
        count: the number of places.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder = folder
        self._count = count
        self._files: dict[int, int] = {}
        self._held: list[int] = []
        self._turn = asyncio.Lock()
        self._left = asyncio.Event()
        weakref.finalize(self, _close_files, self._files)

    def locked(self) -> bool:
        """Return whether every place is taken at this moment."""
        if not self._take():
            return True
        self.release()
        return False

    async def acquire(self) -> bool:
        """Take a place. The callers of one process are served in their order."""
        if not self._turn.locked() and self._take():
            return True
        async with self._turn:
            while not self._take():
                self._left.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._left.wait()
        return True

    def release(self) -> None:
        """Leave a place."""
        fcntl.flock(self._files[self._held.pop()], fcntl.LOCK_UN)
        self._left.set()

    def close(self) -> None:
        """Leave all places and close the files. The end of the object does the same."""
        self._held.clear()
        _close_files(self._files)

    def _take(self) -> bool:
        for place in range(self._count):
            if place not in self._held and self._lock(place):
                self._held.append(place)
                return True
        return False

    def _lock(self, place: int) -> bool:
        try:
            fcntl.flock(self._file(place), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _file(self, place: int) -> int:
        if place not in self._files:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._files[place] = os.open(self._folder / str(place), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self._files[place]


def _close_files(files: dict[int, int]) -> None:
    while files:
        os.close(files.popitem()[1])
