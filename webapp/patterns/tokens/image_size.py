"""Read the size of an image from the first bytes of its file."""

from __future__ import annotations

import base64
import binascii
import io
import struct

import imagesize

_HEAD_CHARS = 400_000  # base64 characters that are decoded: a JPEG may carry 64 KB segments before its size


def size_of_data_url(url: str) -> tuple[int, int] | None:
    """Return the width and height in pixels of an image in a `data:` URL, or None for other URLs and unknown formats."""
    if not url.startswith("data:"):
        return None
    _, _, encoded = url[: _HEAD_CHARS + 200].partition(";base64,")
    usable = encoded[: min(len(encoded), _HEAD_CHARS) // 4 * 4]
    try:
        return size_of(base64.b64decode(usable))
    except (binascii.Error, ValueError):
        return None


def size_of(data: bytes) -> tuple[int, int] | None:
    """Return the width and height in pixels of a raster image whose file begins with `data`, or None where they cannot be read."""
    if data.lstrip()[:1] == b"<":  # SVG has no pixels, and its XML is not parsed here
        return None
    try:
        width, height = imagesize.get(io.BytesIO(data), exif_rotation=False)
    except (ValueError, struct.error, IndexError):
        return None
    return (width, height) if min(width, height) > 0 else None
