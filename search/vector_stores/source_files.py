"""Read the files of `/v1/files` that become documents."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence

from search import services
from search.models import Document
from search.parsing.document import Unreadable
from search.vector_stores.lookup import FILE_PREFIX, parse_uuid
from webapp.core.database import in_database
from webapp.patterns.types import Json
from webapp.ports import files_and_batches
from webapp.ports.files_and_batches import ApiError, Caller, Content


async def describe(caller: Caller, file_ids: Sequence[str]) -> dict[str, Json]:
    """Return the file objects of the caller's files by id.

    Raises:
        ApiError: 404, one of them does not exist.
    """
    served = files_and_batches.files()
    return {file_id: await served.retrieve(caller, file_id) for file_id in dict.fromkeys(file_ids)}


async def fetch(document: Document) -> None:
    """Copy the bytes of the document's file to the document.

    Raises:
        Unreadable: the file is gone, or too large.
    """
    try:
        content = await files_and_batches.files().content(Caller(document.collection.owner), document.api_id)
    except ApiError as error:
        raise Unreadable(error.message) from error
    path = services.file_path(document.pk)
    try:
        size, digest = await _copy(content, document)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    await in_database(Document.objects.filter(pk=document.pk).update, size=size, digest=digest)


async def _copy(content: Content, document: Document) -> tuple[int, str]:
    """Write the content to the document's path; return its size and SHA-256."""
    path = services.file_path(document.pk)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    size, digest = 0, hashlib.sha256()
    with path.open("wb") as file:
        async for chunk in content.chunks:
            size += len(chunk)
            if size > services.MAX_FILE_BYTES:
                raise Unreadable(f"Files can be up to {services.MAX_FILE_BYTES // 1024 // 1024} MB")
            digest.update(chunk)
            await asyncio.to_thread(file.write, chunk)
        file.flush()
        await asyncio.to_thread(os.fsync, file.fileno())
    await asyncio.to_thread(services.publish, path)
    return size, digest.hexdigest()


def remove_documents(file_id: str) -> None:
    """Delete the documents that were made from a file that was deleted."""
    for document in Document.objects.filter(file_id=parse_uuid(file_id, FILE_PREFIX)).defer("text"):
        services.delete_document(document=document)
