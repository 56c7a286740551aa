"""Serve documents at `/v1/files/{id}` to those who may read them, so that a client can open what a citation names."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncGenerator
from pathlib import Path

from search import selectors, services
from search.models import Document
from search.vector_stores.lookup import FILE_PREFIX, parse_uuid, with_file_ids
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import Caller, Content, not_found


class DocumentFiles:
    """Read documents as files."""

    async def retrieve(self, caller: Caller, file_id: str) -> Json:
        """Return a document as a file object."""
        document = await in_database(_document, caller.user, file_id)
        return {
            "id": document.api_id,
            "object": "file",
            "bytes": document.size,
            "created_at": int(document.created_at.timestamp()),
            "filename": document.name,
            "purpose": "assistants",
            "status": "processed",
        }

    async def content(self, caller: Caller, file_id: str) -> Content:
        """Return the bytes that a document was made from."""
        document = await in_database(_document, caller.user, file_id)
        path = await asyncio.to_thread(services.kept_file, document.pk)
        if not path.exists():
            raise not_found("file", file_id)
        media_type = mimetypes.guess_type(document.name)[0] or "application/octet-stream"
        return Content(_chunks(path), document.name, path.stat().st_size, media_type)


def _document(user: User, file_id: str) -> Document:
    key = parse_uuid(file_id, FILE_PREFIX)
    found = selectors.documents(user).filter(with_file_ids([key])).first() if key else None
    if found is None:
        raise not_found("file", file_id)
    return found


async def _chunks(path: Path) -> AsyncGenerator[bytes, None]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, services.PIECE):
            yield piece
