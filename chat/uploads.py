"""Handle files in questions: images go to vision models, short texts into the question, and documents into the search index."""

from __future__ import annotations

import asyncio
import mimetypes
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files import File
from django.core.files.base import ContentFile
from django.db import transaction
from django.db.models import TextField
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.translation import gettext as _

from chat.models import Conversation, Message, Upload
from webapp.accounts.models import User
from webapp.core import file_store, text_encoding
from webapp.core.background import run_tasks
from webapp.core.database import in_database
from webapp.patterns.images import Image, image_type
from webapp.ports import conversation_documents

MAX_IMAGE = 10 * 1024 * 1024
UNSENT = timedelta(days=1)
SWEEP_SECONDS = 3600.0
MAX_DOCUMENT = 50 * 1024 * 1024
MAX_INLINE = 32 * 1024
"""Largest text file, in bytes, that goes into the question whole. The search tool finds passages of larger ones."""
MAX_TEXT = 400 * 1024
"""The same limit if no app indexes documents."""
PACKAGES = {
    ".docx",
    ".docm",
    ".dotx",
    ".dotm",
    ".xlsx",
    ".xlsm",
    ".xltx",
    ".xlsb",
    ".pptx",
    ".pptm",
    ".potx",
    ".ppsx",
    ".odt",
    ".ods",
    ".odp",
    ".epub",
}
"""Documents that are ZIP packages and that the search can read."""


class Unusable(Exception):
    """Report a file that cannot be part of a question. The text says why, and what to do."""


def path(upload_id: UUID | str) -> Path:
    """Return the path of an upload's bytes. The name is a UUID, never the user's file name."""
    return Path(settings.MEDIA_ROOT) / "chat" / UUID(str(upload_id)).hex


def kept_path(upload_id: UUID | str) -> Path:
    """Return the path of an upload's bytes, after fetching them from the file store if they are missing here."""
    return file_store.local(path(upload_id))


def keep(*, user: User, file: File[bytes], conversation: Conversation | None = None) -> Upload:
    """Store a file that a question may carry, or one of `conversation` carries."""
    data = file.read(MAX_DOCUMENT + 1)
    kind = image_type(data)
    if kind and len(data) > MAX_IMAGE:
        raise Unusable(_("Images can be up to %(n)s MB.") % {"n": MAX_IMAGE // 1024 // 1024})
    kind = kind or document_type(data, file.name or "")
    name = "".join(c for c in Path(file.name or "file").name if c.isprintable())[-200:] or "file"
    upload = Upload.objects.create(user=user, name=name, type=kind, size=len(data), conversation=conversation)
    target = path(upload.id)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    try:
        file_store.publish(target)
    except file_store.StoreUnavailableError as error:
        upload.delete()
        raise Unusable(_("The file store does not answer. Try again later.")) from error
    return upload


def keep_tool_images(*, conversation: Conversation, tool: str, images: Sequence[Image]) -> list[dict[str, Any]]:
    """Store the images that a tool returned, and return them in the format of a message's `attachments`.

    Raises:
        Unusable: the file store does not answer.
    """
    kept: list[dict[str, Any]] = []
    for number, image in enumerate(images, 1):
        file = ContentFile(image.data, f"{tool}-{number}.{image.type.removeprefix('image/')}")
        kept.append(entry(keep(user=conversation.user, file=file, conversation=conversation)))
    return kept


def discard(*, upload: Upload) -> None:
    """Delete a file, unless it was sent meanwhile."""
    Upload.objects.filter(id=upload.id, conversation=None).delete()


def forget_bytes(instance: Upload, **_: Any) -> None:
    """Delete the bytes with the row, however the row is deleted: with its conversation, or with its owner's account."""
    target = path(instance.pk)
    transaction.on_commit(lambda: file_store.forget(target), robust=True)


def sweep() -> None:
    """Delete files that were not sent within a day."""
    for upload in Upload.objects.filter(conversation=None, created_at__lt=timezone.now() - UNSENT):
        sent = _sent(upload)
        if sent is None:
            upload.delete()
        else:  # for uploads from before they knew their conversation
            Upload.objects.filter(id=upload.id).update(conversation=sent.conversation_id)


def _sent(upload: Upload) -> Message | None:
    """Return a message that has the file."""
    messages = Message.objects.filter(conversation__user=upload.user_id).alias(attached=Cast("attachments", TextField()))
    return messages.filter(attached__contains=str(upload.id)).first()


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """Run the sweep as a background service."""
    async with run_tasks(uploads=_sweep_now_and_then):
        yield


async def _sweep_now_and_then() -> None:
    while True:
        await in_database(sweep)
        await asyncio.sleep(SWEEP_SECONDS)


def document_type(data: bytes, name: str) -> str:
    """Return the media type of a document that can be indexed, or of a text file."""
    indexed = conversation_documents.documents() is not None
    if len(data) > MAX_DOCUMENT:
        raise Unusable(_("Documents can be up to %(n)s MB here. Add larger ones in Search.") % {"n": MAX_DOCUMENT // 1024 // 1024})
    if indexed and data.startswith(b"%PDF-"):
        return "application/pdf"
    if indexed and data.startswith(b"PK") and Path(name).suffix.lower() in PACKAGES:
        return mimetypes.guess_type(name)[0] or "application/zip"
    if indexed and data.startswith(b"\xd0\xcf\x11\xe0") and name.lower().endswith(".xls"):
        return "application/vnd.ms-excel"
    if len(data) > MAX_TEXT and not indexed:
        raise Unusable(_("Text files can be up to %(n)s KB here.") % {"n": MAX_TEXT // 1024})
    decoded(data)
    return "text/plain"


def decoded(data: bytes) -> str:
    """Return the text of a text file of any encoding."""
    try:
        return text_encoding.decode(data).text
    except text_encoding.BinaryDataError:
        raise Unusable(_("Only images (PNG, JPEG, GIF, WebP), PDF, Office documents, e-books and text files can be attached.")) from None


def entry(upload: Upload) -> dict[str, Any]:
    """Return an upload in the format of a message's `attachments`."""
    kind = "image" if upload.type.startswith("image/") else "file" if inline(upload) else "document"
    return {
        "kind": kind, "id": str(upload.id), "name": upload.name, "type": upload.type, "size": upload.size,
        "url": f"/chat/files/{upload.id}/",
    }  # fmt: skip


def inline(upload: Upload) -> bool:
    """Return whether a document goes into the question whole."""
    return upload.type == "text/plain" and upload.size <= (MAX_INLINE if conversation_documents.documents() else MAX_TEXT)


def index(*, user: User, conversation_id: UUID, title: str, items: Iterable[dict[str, Any]]) -> None:
    """Index the documents of a question for the searches of the conversation."""
    documents = conversation_documents.documents()
    for item in items:
        if documents and item["kind"] != "image":
            documents.add(user=user, conversation_id=conversation_id, title=title, name=item["name"], path=kept_path(item["id"]))


def text_of(item: dict[str, Any]) -> str:
    """Return a document as sent to the model: its text, or how to find it."""
    if item["kind"] == "document":
        return f"[Attached document: {item['name']}. Find what it says with the tool search_documents.]"
    fence = "````"
    data = bytes_of(item)
    if data is None:
        return gone(item)
    return f"{fence} {item['name']}\n{decoded(data)}\n{fence}"


def bytes_of(item: dict[str, Any]) -> bytes | None:
    """Return the bytes of an attachment; None if they are lost (a backup without files, a lost disk)."""
    try:
        return kept_path(item["id"]).read_bytes()
    except FileNotFoundError:
        return None


def gone(item: dict[str, Any]) -> str:
    """Return the text that the model gets instead of a lost file."""
    return f"[The attached file {item['name']} is no longer there.]"
