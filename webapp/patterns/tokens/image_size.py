"""The size of an image from the first bytes of its file, without an imaging library."""

from __future__ import annotations

import base64
import binascii
import struct

_HEAD_CHARS = 400_000  # base64 characters looked at: a JPEG may carry 64 KB segments before its size
_JPEG_SIZES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def size_of_data_url(url: str) -> tuple[int, int] | None:
    """Width and height in pixels of an image in a `data:` address; None for other addresses and unknown formats."""
    if not url.startswith("data:"):
        return None
    _, _, encoded = url[: _HEAD_CHARS + 200].partition(";base64,")
    usable = encoded[: min(len(encoded), _HEAD_CHARS) // 4 * 4]
    try:
        return size_of(base64.b64decode(usable))
    except (binascii.Error, ValueError):
        return None


def size_of(data: bytes) -> tuple[int, int] | None:
    """Width and height in pixels of a PNG, GIF, JPEG or WebP file that begins with `data`; None where they cannot be read."""
    try:
        size = _read(data)
    except (struct.error, IndexError):
        return None
    return size if size and min(size) > 0 else None


def _read(data: bytes) -> tuple[int, int] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return struct.unpack_from(">II", data, 16)
    if data[:6] in {b"GIF87a", b"GIF89a"}:
        return struct.unpack_from("<HH", data, 6)
    if data.startswith(b"\xff\xd8"):
        return _read_jpeg(data)
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return _read_webp(data)
    return None


def _read_jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        length = struct.unpack_from(">H", data, at + 2)[0]
        if marker in _JPEG_SIZES:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        at += 2 + length
    return None


def _read_webp(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
