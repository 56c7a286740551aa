"""Store files: bytes on disk under their id, streamed in and out, removed on deletion."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Self

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from batches.models import Batch, BatchRow, File
from webapp.accounts.models import User
from webapp.core import file_store
from webapp.patterns.errors import InputError, PatternError
from webapp.ports.files_and_batches import announce_deletion

PURPOSES = ("assistants", "batch", "fine-tune", "user_data", "vision")
EXPIRES_SECONDS = range(3600, 2_592_001)
MAX_FILE_BYTES = 512 * 1024 * 1024
NAME_CHARS = 300


class StorageFull(PatternError):
    """Report that a file cannot be stored: the disk is full, or the file store does not answer."""


class FileTooLarge(InputError):
    """Report that a file exceeds the size limit."""


def clean_name(name: str) -> str:
    """Return a file name for display: without folders or control characters, and bounded. Never used as a path."""
    base = name.replace("\\", "/").rpartition("/")[2]
    return "".join(char for char in base if char.isprintable())[:NAME_CHARS] or "file"


class Upload:
    """Write bytes to disk as they arrive. `finish` creates the file; leaving the context without it removes the bytes.

    Raises:
        StorageFull: from `write` and `finish`.
        FileTooLarge: from `write`.
    """

    def __init__(self) -> None:
        self._file = File()
        self._draft = self._file.target.with_suffix(".part")
        self._draft.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._out = self._draft.open("wb", buffering=0)  # unbuffered: a buffer would write again after a full disk
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        if not self._out.closed:
            self._out.close()
            self._draft.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Append data. Raise `FileTooLarge` or `StorageFull`."""
        self.size += len(data)
        if self.size > MAX_FILE_BYTES:
            raise FileTooLarge(f"A file may have {MAX_FILE_BYTES} bytes.", param="file", code="file_too_large")
        rest = memoryview(data)
        with _room():
            while rest:
                rest = rest[self._out.write(rest) :]

    def finish(self, *, user: User, filename: str, purpose: str, expires_after: int | None = None) -> File:
        """Turn the bytes into a file of `user`. `expires_after` is in seconds."""
        with _room():
            os.fsync(self._out.fileno())
        self._out.close()
        self._draft.replace(self._file.target)
        _publish(self._file)
        file = self._file
        file.user, file.filename, file.purpose, file.bytes = user, clean_name(filename), purpose, self.size
        if expires_after is not None:
            file.expires_at = file.created_at + timedelta(seconds=expires_after)
        file.save(force_insert=True)
        return file


@contextmanager
def _room() -> Generator[None, None, None]:
    try:
        yield
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise StorageFull("The disk is full: make room and try again.") from error


def _publish(file: File) -> None:
    """Copy the bytes to the file store, if there is one."""
    try:
        file_store.publish(file.target)
    except file_store.StoreUnavailableError as error:
        file.target.unlink(missing_ok=True)
        raise StorageFull("The file store does not answer. Try again later.") from error


def store(*, user: User, filename: str, purpose: str, data: Iterable[bytes], expires_after: int | None = None) -> File:
    """Store the bytes of `data` as a file of `user`."""
    check_upload(purpose=purpose, expires_after=expires_after)
    with Upload() as upload:
        for piece in data:
            upload.write(piece)
        return upload.finish(user=user, filename=filename, purpose=purpose, expires_after=expires_after)


def adopt(*, user: User, path: Path, filename: str, purpose: str, expires_after: int | None = None) -> File:
    """Move the file at `path` into storage as a file of `user`."""
    check_upload(purpose=purpose, expires_after=expires_after)
    file = File(user=user, filename=clean_name(filename), purpose=purpose, bytes=path.stat().st_size)
    if expires_after is not None:
        file.expires_at = file.created_at + timedelta(seconds=expires_after)
    file.target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _room():
        shutil.move(path, file.target)
    _publish(file)
    file.save(force_insert=True)
    return file


def check_upload(*, purpose: str, expires_after: int | None) -> None:
    """Check an upload as OpenAI does.

    Raises:
        InputError: OpenAI answers 400 in this case.
    """
    if purpose not in PURPOSES:
        raise InputError(f"'{purpose}' is not one of {list(PURPOSES)}.", param="purpose", code="invalid_value")
    if expires_after is not None and expires_after not in EXPIRES_SECONDS:
        first, last = EXPIRES_SECONDS[0], EXPIRES_SECONDS[-1]
        raise InputError(f"A file may expire after {first} to {last} seconds.", param="expires_after[seconds]", code="invalid_value")


def in_use(file: File) -> bool:
    """Return whether a running batch still reads its requests from `file`."""
    return Batch.objects.filter(input_file=file, status__in=Batch.ACTIVE).exists()


def delete(*, file: File) -> None:
    """Delete a file, row and bytes. For the output or errors of a batch, delete the answers in its rows.

    Raises:
        InputError: a running batch reads from it.
    """
    if in_use(file):
        raise InputError("A running batch reads this file: cancel the batch first.", param="file_id", code="file_in_use")
    with transaction.atomic():
        _forget_answers(file)
        file.delete()


def forget_bytes(instance: File, **_: Any) -> None:
    """Delete the bytes with the row, however the row is deleted: by `delete`, or with its owner's account."""
    target = instance.target
    transaction.on_commit(lambda: file_store.forget(target), robust=True)
    transaction.on_commit(partial(announce_deletion, instance.api_id))


def _forget_answers(file: File) -> None:
    """Delete the answers in the rows of a batch, which are the only content of a generated file."""
    state = BatchRow.State
    if file.content == File.Content.OUTPUT:
        BatchRow.objects.filter(batch__output_file=file, state=state.OK).update(response="")
    elif file.content == File.Content.ERRORS:
        BatchRow.objects.filter(batch__error_file=file, state=state.FAILED).update(response="", error_message="")


def delete_expired() -> int:
    """Delete expired files and drafts of interrupted uploads; return their number."""
    count = 0
    for file in File.objects.filter(expires_at__lt=timezone.now()).iterator():
        if not in_use(file):
            delete(file=file)
            count += 1
    _sweep_drafts(Path(settings.MEDIA_ROOT))
    return count


def _sweep_drafts(folder: Path) -> None:
    oldest = timezone.now().timestamp() - 24 * 3600
    for draft in folder.glob("*.part"):
        if draft.stat().st_mtime < oldest:
            draft.unlink(missing_ok=True)
