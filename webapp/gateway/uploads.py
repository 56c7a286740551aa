"""Receive uploads: write the body to disk as it arrives, within its limit, then parse it with Django's parser off the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler, SkipFile
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from webapp.gateway.http import Call
from webapp.patterns.errors import InputError
from webapp.ports.files_and_batches import ApiError, Upload

FIELD = "file"
INCOMING = "incoming"
ABANDONED_SECONDS = 24 * 3600
WRITE_BYTES = 1024 * 1024
HASH_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Form:
    """A multipart form with one file. `fingerprint` is equal for equal contents, regardless of the encoding."""

    upload: Upload
    fields: dict[str, str]
    fingerprint: str


@asynccontextmanager
async def uploaded(call: Call) -> AsyncGenerator[Form]:
    """Yield the form in the body of `call`. Its temporary files are deleted at the end."""
    if not call.header("content-type").lower().startswith("multipart/form-data"):
        raise ApiError(400, "Send the file as multipart/form-data, with the fields 'file' and 'purpose'.", code="invalid_content_type")
    folder = await asyncio.to_thread(incoming_folder)
    try:
        body = Path(folder.name) / "body"
        await _store(call, body)
        yield await asyncio.to_thread(_take_apart, call, body)
    finally:
        await asyncio.to_thread(folder.cleanup)


def incoming_folder() -> TemporaryDirectory[str]:
    """Make a temporary folder next to the stored files, so that keeping a file is a rename and not a copy."""
    parent = Path(settings.MEDIA_ROOT) / INCOMING
    parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return TemporaryDirectory(dir=parent)


def sweep() -> None:
    """Delete temporary files of killed processes."""
    oldest = time.time() - ABANDONED_SECONDS
    for folder in (Path(settings.MEDIA_ROOT) / INCOMING).glob("tmp*"):
        if folder.stat().st_mtime < oldest:
            shutil.rmtree(folder, ignore_errors=True)


async def _store(call: Call, path: Path) -> None:
    """Write the body to `path`, a megabyte at a time."""
    with path.open("wb") as file:
        waiting = bytearray()
        async for chunk in call.body_chunks(settings.MAX_UPLOAD_BYTES):
            waiting += chunk
            if len(waiting) >= WRITE_BYTES:
                await asyncio.to_thread(file.write, waiting)
                waiting = bytearray()
        await asyncio.to_thread(file.write, waiting)


def _take_apart(call: Call, body: Path) -> Form:
    meta = {"CONTENT_TYPE": call.header("content-type"), "CONTENT_LENGTH": body.stat().st_size}
    with body.open("rb") as raw, body.with_name("file").open("wb") as file:
        try:
            fields, files = MultiPartParser(meta, raw, [_Keeper(file)]).parse()
        except (MultiPartParserError, SuspiciousOperation) as error:
            raise ApiError(400, f"The form could not be read: {error}.", code="invalid_form") from error
    body.unlink()
    found = files.get(FIELD)
    if found is None:
        raise InputError(f"Missing required parameter: '{FIELD}'.", param=FIELD, code="missing_required_parameter")
    texts = {name: str(fields[name]) for name in fields}
    kind = found.content_type or "application/octet-stream"
    upload = Upload(path=body.with_name("file"), filename=str(found.name), size=found.size or 0, content_type=kind)
    return Form(upload, texts, _fingerprint(upload, texts))


class _Keeper(FileUploadHandler):
    """Write the form's one file to the target path, and skip other files."""

    def __init__(self, target: BinaryIO) -> None:
        super().__init__()
        self._target = target
        self._found = False

    def new_file(self, field_name: str, *args: Any, **kwargs: Any) -> None:
        if field_name != FIELD or self._found:
            raise SkipFile
        self._found = True
        super().new_file(field_name, *args, **kwargs)

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> None:
        self._target.write(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[Any]:
        return UploadedFile(name=self.file_name, content_type=self.content_type, size=file_size)


def _fingerprint(upload: Upload, fields: dict[str, str]) -> str:
    digest = hashlib.sha256(repr((upload.filename, sorted(fields.items()))).encode())
    with upload.path.open("rb") as file:
        while chunk := file.read(HASH_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
