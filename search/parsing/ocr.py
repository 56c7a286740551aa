"""Text recognition (OCR) by the program tesseract, where it is installed."""

from __future__ import annotations

import shutil
import subprocess
from functools import lru_cache
from typing import Any

from search.parsing.document import Unreadable

PROGRAM = "tesseract"
DOTS_PER_INCH = 300
POINTS_PER_INCH = 72
MAX_PIXELS = 30_000_000
PAGE_SECONDS = 120
MAX_LANGUAGES = 6
NOT_LANGUAGES = frozenset({"osd", "equ", "snum"})


def is_installed() -> bool:
    """Whether the program is on the path."""
    return shutil.which(PROGRAM) is not None


@lru_cache(maxsize=1)
def languages() -> str:
    """Return the installed languages as tesseract's `-l` takes them, at most MAX_LANGUAGES."""
    command = [PROGRAM, "--list-langs"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PAGE_SECONDS).stdout  # noqa: S603 - constant
    names = [line.strip() for line in listed.splitlines()[1:] if line.strip() and line.strip() not in NOT_LANGUAGES]
    return "+".join(sorted(names, key=lambda name: (name != "eng", name))[:MAX_LANGUAGES]) or "eng"


def read_picture(content: bytes) -> str:
    """Return the text of a picture file (PNG, JPEG, TIFF, PNM).

    Raises:
        Unreadable: tesseract is not installed, fails, or takes more than PAGE_SECONDS.
    """
    if not is_installed():
        raise Unreadable("Text recognition (OCR) needs the program tesseract, which is not installed")
    command = [PROGRAM, "stdin", "stdout", "-l", languages(), "--dpi", str(DOTS_PER_INCH)]
    try:
        done = subprocess.run(command, input=content, capture_output=True, check=False, timeout=PAGE_SECONDS)  # noqa: S603 - no shell
    except subprocess.TimeoutExpired as error:
        raise Unreadable(f"Text recognition (OCR) of a page takes more than {PAGE_SECONDS} seconds") from error
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise Unreadable(f"Text recognition (OCR) failed: {lines[-1][:200] if lines else f'status {done.returncode}'}")
    return done.stdout.decode(errors="replace")


def read_page(page: Any) -> str:
    """Return the text of a page of PDFium, drawn in gray at DOTS_PER_INCH, or coarser where the page is very large."""
    width, height = page.get_size()
    scale = DOTS_PER_INCH / POINTS_PER_INCH
    scale *= min(1.0, (MAX_PIXELS / max(1.0, width * height * scale * scale)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    try:
        rows = memoryview(bitmap.buffer).cast("B")
        pixels = b"".join(rows[at : at + bitmap.width] for at in range(0, bitmap.stride * bitmap.height, bitmap.stride))
        return read_picture(b"P5\n%d %d\n255\n" % (bitmap.width, bitmap.height) + pixels)
    finally:
        bitmap.close()
