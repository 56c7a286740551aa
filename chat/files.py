"""Files in questions: images go to models that see, text goes into the question."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.core.files import File

from chat.models import Upload
from webapp.accounts.models import User

MAX_IMAGE = 10 * 1024 * 1024
MAX_TEXT = 400 * 1024
_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


class Unusable(Exception):
    """A file that cannot be part of a question; the text says why and what to do."""


def path(upload_id: UUID | str) -> Path:
    """Where the bytes of an upload are. The name is a UUID, whatever the user's file was called."""
    return Path(settings.MEDIA_ROOT) / "chat" / UUID(str(upload_id)).hex


def keep(*, user: User, file: File[bytes]) -> Upload:
    """Store a file that a question may carry."""
    data = file.read(MAX_IMAGE + 1)
    kind = image_type(data)
    if kind and len(data) > MAX_IMAGE:
        raise Unusable(f"Images may have {MAX_IMAGE // 1024 // 1024} MB at most.")
    if not kind:
        decoded(data)
    name = "".join(c for c in Path(file.name or "file").name if c.isprintable())[-200:] or "file"
    upload = Upload.objects.create(user=user, name=name, type=kind or "text/plain", size=len(data))
    target = path(upload.id)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    return upload


def image_type(data: bytes) -> str:
    """The media type of an image by its first bytes; empty for anything else (SVG is no image here: it can carry scripts)."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "")


def decoded(data: bytes) -> str:
    """The text of a text file."""
    if len(data) > MAX_TEXT:
        raise Unusable(f"Text files may have {MAX_TEXT // 1024} KB at most here. Add larger documents in Search, and ask about them.")
    encoding = "utf-16" if data[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise Unusable("Only images (PNG, JPEG, GIF, WebP) and text files can be attached. Add documents in Search.") from None
    if "\x00" in text:
        raise Unusable("This is no text file.")
    return text


def entry(upload: Upload) -> dict[str, Any]:
    """An upload as a message's `attachments` hold it."""
    kind = "image" if upload.type.startswith("image/") else "file"
    return {
        "kind": kind, "id": str(upload.id), "name": upload.name, "type": upload.type, "size": upload.size,
        "url": f"/chat/files/{upload.id}/",
    }  # fmt: skip


def text_of(item: dict[str, Any]) -> str:
    """A text attachment as it goes to the model."""
    fence = "````"
    return f"{fence} {item['name']}\n{decoded(path(item['id']).read_bytes())}\n{fence}"
