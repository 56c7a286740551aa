"""Keep files in an S3-compatible store, if one is configured, with copies in `MEDIA_ROOT`.

Without a store, `MEDIA_ROOT` is the only place, and the functions below do next to nothing. With one, it is a cache: a process writes a
file there and publishes it, and a process that lacks a file fetches it. The name in the store is the path below `MEDIA_ROOT`.
`webapp.core.file_cache` limits the cache.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from django.conf import settings
from django.core.files import File
from django.core.files.storage import storages

from webapp.core import file_cache

if TYPE_CHECKING:
    from django.core.files.storage import Storage

ALIAS: Final = "files"
"""The key of the store in Django's `STORAGES`."""
PIECE: Final = 1024 * 1024
TEMPORARY: Final = ".part"
"""The suffix of files that are being written."""
INCOMING: Final = "incoming"
"""The folder of uploads that are being received."""


class StoreUnavailableError(OSError):
    """Report that the store did not answer, or refused."""


def is_on() -> bool:
    """Return whether a store is configured."""
    return ALIAS in settings.STORAGES


def publish(path: Path) -> None:
    """Copy a file from `MEDIA_ROOT` to the store.

    Raises:
        StoreUnavailableError: the store did not take it.
    """
    if is_on():
        with reachable(), path.open("rb") as file:
            store().save(name_of(path), File(file))
        _trim_soon()


def local(path: Path) -> Path:
    """Return the path, after fetching its file from the store if it is missing here. The file may be missing in both.

    Raises:
        StoreUnavailableError: the store did not answer.
    """
    if is_on() and not path.exists():
        fetch(path)
        _trim_soon()
    if is_on() and settings.FILE_CACHE_BYTES:
        file_cache.mark_used(path)
    return path


def trim(limit: int) -> int:
    """Delete local copies until the rest has at most `limit` bytes; return how many were deleted. Files that the store lacks stay.

    Raises:
        StoreUnavailableError: the store did not answer.
    """
    return file_cache.trim((path_of(name) for name in local_names()), limit, holds)


def _trim_soon() -> None:
    if settings.FILE_CACHE_BYTES:
        file_cache.trim_soon(lambda: trim(settings.FILE_CACHE_BYTES))


def holds(path: Path, size: int) -> bool:
    """Return whether the store has this file, complete.

    Raises:
        StoreUnavailableError: the store did not answer.
    """
    with reachable():
        return store().exists(name_of(path)) and store().size(name_of(path)) == size


def fetch(path: Path) -> bool:
    """Copy a file from the store to `MEDIA_ROOT`; return False if the store has none. Readers never see a part of it."""
    with reachable():
        if not store().exists(name_of(path)):
            return False
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=TEMPORARY, delete=False) as draft:
            try:
                with store().open(name_of(path), "rb") as source:
                    while piece := source.read(PIECE):
                        draft.write(piece)
                draft.close()
                Path(draft.name).replace(path)
            except BaseException:
                Path(draft.name).unlink(missing_ok=True)
                raise
    return True


def forget(path: Path) -> None:
    """Delete a file here and in the store. A missing file is accepted.

    Raises:
        StoreUnavailableError: the store did not answer. The file is gone here.
    """
    path.unlink(missing_ok=True)
    if is_on():
        with reachable():
            store().delete(name_of(path))


def name_of(path: Path) -> str:
    """Return the name of a file in the store."""
    return path.relative_to(settings.MEDIA_ROOT).as_posix()


def path_of(name: str) -> Path:
    """Return the path of a file of the store in `MEDIA_ROOT`."""
    return Path(settings.MEDIA_ROOT) / name


def stored_names(folder: str = "") -> Iterator[str]:
    """Yield the names of all files in the store."""
    folders, files = store().listdir(folder)
    prefix = f"{folder}/" if folder else ""
    yield from (prefix + name for name in files if name)
    for inner in folders:
        yield from stored_names(prefix + inner)


def local_names() -> Iterator[str]:
    """Yield the names of all files in `MEDIA_ROOT`, without those that are being written."""
    root = Path(settings.MEDIA_ROOT)
    for path in root.rglob("*"):
        parts = path.relative_to(root).parts
        if path.is_file() and path.suffix != TEMPORARY and INCOMING not in parts[:1]:
            yield "/".join(parts)


def store() -> Storage:
    """Return the store."""
    return storages[ALIAS]


@contextmanager
def reachable() -> Iterator[None]:
    """Turn the errors of the store's client into `StoreUnavailableError`."""
    try:
        yield
    except _client_errors() as error:
        raise StoreUnavailableError(f"The file store does not answer: {error}") from error


@cache
def _client_errors() -> tuple[type[Exception], ...]:
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    return (Boto3Error, BotoCoreError, ClientError)
