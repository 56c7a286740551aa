"""Draw the pages of PDF documents as pictures, in processes of their own, and keep the pictures on the disk.

A picture is drawn when a reader first opens its page. The folder is bounded: the pictures that were not opened for the longest time go
first.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterable
from pathlib import Path
from uuid import UUID

from django.conf import settings

from search.parsing import bounded

WIDTH = 1100
"""Pixels. Text of 8 points can be read on a screen that shows half of them."""
DRAWN_AT_ONCE = 2
MAX_FOLDER_BYTES = 512 * 1024 * 1024
KEPT_SHARE = 0.8

_slots: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore] = weakref.WeakKeyDictionary()


def folder() -> Path:
    """Return the folder of all pictures."""
    return Path(settings.PATCHBAY_HOME) / "page-pictures"


def _path(document_id: UUID, number: int) -> Path:
    return folder() / document_id.hex / f"{number}-{WIDTH}.png"


async def picture(document_id: UUID, file: Path, number: int) -> bytes:
    """Return a page of a document, whose PDF is `file`, as a PNG picture, from the disk or freshly drawn. `number` counts from 1.

    Raises:
        Unreadable: the page cannot be drawn.
    """
    path = _path(document_id, number)
    if kept := await asyncio.to_thread(_read, path):
        return kept
    slots = _slots.setdefault(asyncio.get_running_loop(), asyncio.Semaphore(DRAWN_AT_ONCE))
    async with slots:
        if kept := await asyncio.to_thread(_read, path):  # another reader opened the same page meanwhile
            return kept
        drawn = await bounded.draw_page(file, number, WIDTH)
        await asyncio.to_thread(_keep, path, drawn)
    return drawn


def _read(path: Path) -> bytes | None:
    """Return a kept picture, and note that it was opened."""
    try:
        content = path.read_bytes()
        os.utime(path)
    except FileNotFoundError:
        return None
    return content


def _keep(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        file.write(content)
    Path(file.name).replace(path)
    remove_oldest()


def remove_oldest() -> None:
    """Delete the pictures opened longest ago until the folder takes KEPT_SHARE of its limit, if it exceeds the limit."""
    found = []
    for path in folder().glob("*/*.png"):
        try:
            state = path.stat()
        except FileNotFoundError:
            continue
        found.append((state.st_mtime, state.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= MAX_FOLDER_BYTES:
        return
    for _, size, path in sorted(found):
        path.unlink(missing_ok=True)
        total -= size
        if total <= MAX_FOLDER_BYTES * KEPT_SHARE:
            return


def forget(document_ids: Iterable[UUID]) -> None:
    """Delete the pictures of documents."""
    for document_id in document_ids:
        shutil.rmtree(folder() / document_id.hex, ignore_errors=True)
