"""Create batches from user input: an uploaded file, a table with a template, pasted lines."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby, islice
from operator import itemgetter
from pathlib import Path
from typing import Any

from django.core.files.uploadedfile import TemporaryUploadedFile, UploadedFile
from django.db import transaction

from batches import services
from batches.execution import runner
from batches.input import files, tables, validation
from batches.input.tables import Prompting, Row
from batches.models import Batch, File
from webapp.accounts.models import User
from webapp.patterns.batch.input_file import LIMITS, Validated, lines_of, request_line, split
from webapp.patterns.errors import InputError

DRAFT_SECONDS = 24 * 3600
PIECE_BYTES = 1024 * 1024
MAX_NAME_CHARS = 170
MAX_PARTS = 20
"""The largest number of batches that one input is split into."""
MAX_ROWS = MAX_PARTS * LIMITS.lines


def store_upload(*, user: User, upload: UploadedFile[Any]) -> File:
    """Store an uploaded file. A file that is already on disk is moved."""
    name = upload.name or "batch.jsonl"
    if isinstance(upload, TemporaryUploadedFile):
        path = Path(upload.temporary_file_path())
        file = files.adopt(user=user, path=path, filename=name, purpose="batch")
        path.touch()  # Django deletes its temporary file at the end of the request, and fails if it is missing
        return file
    return files.store(user=user, filename=name, purpose="batch", data=upload.chunks())


def keep_upload(*, user: User, upload: UploadedFile[Any]) -> File:
    """Store an uploaded file for a day, until a batch uses it."""
    file = store_upload(user=user, upload=upload)
    file.expires_at = file.created_at + timedelta(seconds=DRAFT_SECONDS)
    file.save(update_fields=["expires_at"])
    return file


@dataclass(frozen=True, slots=True)
class Checked:
    """An upload and the result of its validation."""

    file: File
    found: Validated


def check(*, user: User, upload: UploadedFile[Any]) -> Checked:
    """Store and validate a file before it becomes a batch. An unused file is deleted after a day."""
    file = keep_upload(user=user, upload=upload)
    return Checked(file, validation.validate(file))


def from_file(*, user: User, file: File, options: dict[str, Any]) -> Batch:
    """Create a batch over a stored file, or linked batches over its parts if it exceeds the limits. Returns the first."""
    if _too_large(file):
        with file.path.open("rb") as source:
            parts = _stored_parts(user, file.filename, lines_of(source))
        batch = _started(user, parts, options)
        files.delete(file=file)
        return batch
    if file.expires_at is not None:
        file.expires_at = None
        file.save(update_fields=["expires_at"])
    return _started(user, [file], options)


def _too_large(file: File) -> bool:
    """Return whether a batch may not have so many bytes or lines."""
    if file.bytes > LIMITS.bytes:
        return True
    with file.path.open("rb") as source:
        ends = sum(piece.count(b"\n") for piece in iter(lambda: source.read(PIECE_BYTES), b""))
        source.seek(0)
        return ends >= LIMITS.lines and any(islice(lines_of(source), LIMITS.lines, None))


def parts_of(found: Validated) -> int:
    """Return the number of batches that a too large input is split into, estimated from its bytes."""
    return max(-(-found.requests // LIMITS.lines), -(-found.size // LIMITS.bytes))


def from_rows(*, user: User, rows: Iterable[Row], name: str, prompting: Prompting, options: dict[str, Any]) -> Batch:
    """Create a batch with one request per row, or linked batches if there are too many rows. Returns the first.

    Raises:
        InputError: the rows cannot be read, or there are none or far too many.
    """
    made = tables.requests(_bounded(rows), prompting)
    parts = _stored_parts(user, name, (request_line(custom_id, body, endpoint=prompting.endpoint) for custom_id, body in made))
    if not parts:
        raise InputError("There are no rows.", param="file")
    return _started(user, parts, options)


def _bounded(rows: Iterable[Row]) -> Iterator[Row]:
    rows = iter(rows)
    yield from islice(rows, MAX_ROWS)
    if next(rows, None) is not None:
        raise InputError(f"A table can have up to {MAX_ROWS} rows, which make {MAX_PARTS} batches. Split it.", param="file")


def _stored_parts(user: User, name: str, lines: Iterable[bytes]) -> list[File]:
    """Store the lines as files within the limits of a batch; all of them or none."""
    parts: list[File] = []
    try:
        for number, part in groupby(split(lines), key=itemgetter(0)):
            _check_part(number)
            data = (line for _, line in part)
            parts.append(files.store(user=user, filename=name, purpose="batch", data=_grouped(data)))
    except BaseException:
        for file in parts:
            files.delete(file=file)
        raise
    return parts


def _check_part(number: int) -> None:
    if number == MAX_PARTS:
        raise InputError(f"This makes more than {MAX_PARTS} batches. Split the file and start with one part.", param="file")


def _grouped(data: Iterator[bytes]) -> Iterator[bytes]:
    while piece := b"".join(islice(data, 500)):
        yield piece


def _started(user: User, parts: Sequence[File], options: dict[str, Any]) -> Batch:
    """Create a batch for each part, and link the others to the first."""
    first = None
    with transaction.atomic():
        for number, file in enumerate(parts, 1):
            name = options.get("name") or file.filename
            named = {"name": f"{name[:MAX_NAME_CHARS]} (part {number} of {len(parts)})"} if len(parts) > 1 else {}
            batch = services.create_batch(user=user, input_file=file, **{**options, **named}, first_part=first)
            first = first or batch
    assert first is not None, "there is at least one part"
    runner.wake()
    return first
