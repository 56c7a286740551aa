"""Draw one page of a PDF in a process of its own.

`python -m search.parsing.draw_page PATH NUMBER WIDTH` writes a PNG picture. NUMBER counts from 1, WIDTH is in pixels.

It knows neither Django nor secrets, and limits itself before it looks at the file. A page that cannot be drawn ends it with status 1.
"""

from __future__ import annotations

import struct
import sys
import zlib
from typing import Any

from search.parsing.limits import limit

CPU_SECONDS = 10
MEMORY = 512 * 1024 * 1024
MAX_PIXELS = 6_000_000
SIGNATURE = b"\x89PNG\r\n\x1a\n"
TRUE_COLOR = 2
COMPRESSION = 4
"""zlib's level: half the time of the default, and 5 % more bytes on pages of text."""


def draw(path: str, number: int, width: int) -> bytes:
    """Return page `number` of the PDF as a PNG of `width` pixels, or fewer if the page is very long."""
    import pypdfium2 as pdfium

    document = pdfium.PdfDocument(path)
    document.init_forms()
    page = document[number - 1]
    points_wide, points_high = page.get_size()
    scale = width / max(1.0, points_wide)
    scale *= min(1.0, (MAX_PIXELS / max(1.0, points_wide * points_high * scale * scale)) ** 0.5)
    return png(page.render(scale=scale, rev_byteorder=True))


def png(bitmap: Any) -> bytes:
    """Encode a bitmap of PDFium with three bytes for each pixel."""
    pixels = memoryview(bitmap.buffer).cast("B")
    length = bitmap.width * 3
    rows = b"".join(b"\0" + pixels[at : at + length] for at in range(0, bitmap.stride * bitmap.height, bitmap.stride))
    header = struct.pack(">IIBBBBB", bitmap.width, bitmap.height, 8, TRUE_COLOR, 0, 0, 0)
    return SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, COMPRESSION)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


if __name__ == "__main__":
    limit(CPU_SECONDS, MEMORY)
    sys.stdout.buffer.write(draw(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
