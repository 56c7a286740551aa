"""Images as models and browsers take them: PNG, JPEG, GIF and WebP, told by their first bytes."""

from __future__ import annotations

import base64
from dataclasses import dataclass

_MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


@dataclass(frozen=True, slots=True)
class Image:
    """An image in memory.

    Attributes:
        type: the media type that its bytes have, whatever its sender says.
    """

    type: str
    data: bytes

    @property
    def url(self) -> str:
        """Return the image as a `data:` address."""
        return f"data:{self.type};base64,{base64.b64encode(self.data).decode()}"


def image_type(data: bytes) -> str:
    """Return the media type of an image by its first bytes; empty for anything else. SVG is excluded, because it can hold scripts."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "")
