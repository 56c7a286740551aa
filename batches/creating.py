"""New batches from what people give: an uploaded file, a table with a template, pasted lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile

from batches import files, preparing, runner, services, tables
from batches.models import Batch, File
from batches.tables import Prompting, Row
from webapp.accounts.models import User
from webapp.patterns.batch import LIMITS, Validated, request_line
from webapp.patterns.errors import InputError

DRAFT_SECONDS = 24 * 3600


def store_upload(*, user: User, upload: UploadedFile[Any]) -> File:
    """Keep an uploaded file; moved where it lies on disk already."""
    name = upload.name or "batch.jsonl"
    if isinstance(upload, TemporaryUploadedFile):
        path = Path(upload.temporary_file_path())
        file = files.adopt(user=user, path=path, filename=name, purpose="batch")
        path.touch()  # Django deletes its temporary file when the request ends, and complains where there is none
        return file
    return files.store(user=user, filename=name, purpose="batch", data=upload.chunks())


@dataclass(frozen=True, slots=True)
class Checked:
    """An upload that was looked through before it became a batch."""

    file: File
    found: Validated


def check(*, user: User, upload: UploadedFile[Any]) -> Checked:
    """Store and validate a file, for a look before it is used; unused, it goes after a day."""
    file = store_upload(user=user, upload=upload)
    file.expires_at = file.created_at + timedelta(seconds=DRAFT_SECONDS)
    file.save(update_fields=["expires_at"])
    return Checked(file, preparing.validate(file))


def from_file(*, user: User, file: File, options: dict[str, Any]) -> Batch:
    """A batch over a stored file, which then stays."""
    if file.expires_at is not None:
        file.expires_at = None
        file.save(update_fields=["expires_at"])
    return _started(user=user, input_file=file, **options)


def from_rows(*, user: User, rows: Iterable[Row], name: str, prompting: Prompting, options: dict[str, Any]) -> Batch:
    """A batch of one request a row.

    Raises:
        InputError: the rows cannot be read, or there are none or too many.
    """
    made = tables.requests(_bounded(rows), prompting)
    data = (request_line(custom_id, body, endpoint=prompting.endpoint) for custom_id, body in made)
    file = files.store(user=user, filename=name, purpose="batch", data=_grouped(data))
    if not file.bytes:
        files.delete(file=file)
        raise InputError("There are no rows.", param="file")
    return _started(user=user, input_file=file, **options)


def _bounded(rows: Iterable[Row]) -> Iterator[Row]:
    rows = iter(rows)
    yield from islice(rows, LIMITS.lines)
    if next(rows, None) is not None:
        raise InputError(f"A batch may have {LIMITS.lines} rows: split the table.", param="file")


def _grouped(data: Iterator[bytes]) -> Iterator[bytes]:
    while piece := b"".join(islice(data, 500)):
        yield piece


def _started(**options: Any) -> Batch:
    batch = services.create(**options)
    runner.wake()
    return batch
