"""Read multipart forms with files of moderate size into memory."""

from __future__ import annotations

import asyncio
import hashlib
from io import BytesIO
from typing import Any

from django.conf import settings
from django.core.exceptions import SuspiciousOperation
from django.core.files.uploadedfile import UploadedFile
from django.core.files.uploadhandler import FileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError

from webapp.gateway.http import Call
from webapp.patterns.types import Form, FormFile
from webapp.ports.files_and_batches import ApiError


async def read_form(call: Call) -> Form:
    """Return the form in the body of `call`, of at most `MAX_MEDIA_BYTES`.

    Raises:
        ApiError: the body is not a form, or larger.
    """
    if not call.header("content-type").lower().startswith("multipart/form-data"):
        raise ApiError(400, "Send the request as multipart/form-data.", code="invalid_content_type")
    raw = await call.body(settings.MAX_MEDIA_BYTES)
    return await asyncio.to_thread(_parse, call.header("content-type"), raw)


def _parse(content_type: str, raw: bytes) -> Form:
    meta = {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": len(raw)}
    handler = _MemoryHandler()
    try:
        texts, _files = MultiPartParser(meta, BytesIO(raw), [handler]).parse()
    except (MultiPartParserError, SuspiciousOperation) as error:
        raise ApiError(400, f"The form could not be read: {error}.", code="invalid_form") from error
    fields = tuple((name, str(value)) for name in texts for value in texts.getlist(name))
    digest = hashlib.blake2b(repr((fields, [file.filename for file in handler.files])).encode("utf-8", "replace"), digest_size=16)
    for file in handler.files:
        digest.update(file.content)
    return Form(fields, tuple(handler.files), digest.hexdigest())


class _MemoryHandler(FileUploadHandler):
    """Keeps the contents of all files of a form."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[FormFile] = []
        self._parts: list[bytes] = []

    def new_file(self, *args: Any, **kwargs: Any) -> None:
        super().new_file(*args, **kwargs)
        self._parts = []

    def receive_data_chunk(self, raw_data: bytes, _start: int) -> None:
        self._parts.append(raw_data)

    def file_complete(self, file_size: int) -> UploadedFile[Any]:
        name, filename, kind = str(self.field_name), str(self.file_name), str(self.content_type or "application/octet-stream")
        self.files.append(FormFile(name, filename, kind, b"".join(self._parts)))
        return UploadedFile(name=filename, content_type=kind, size=file_size)
