"""Show a part of a document's text, escaped, with one passage marked."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from search.models import Chunk, Document

STRETCH = 200_000
"""Characters shown at once. More makes browsers slow."""
BEFORE = 20_000
MAX_LINE = 10_000


@dataclass(frozen=True, slots=True)
class Shown:
    """The part as HTML, the passage if one is requested, and the starts of the neighboring parts."""

    html: SafeString
    chunk: Chunk | None
    earlier: int | None
    later: int | None


def show(document: Document, passage: str, begin: str) -> Shown:
    """Return the part around a passage, or from an offset. Unreadable parameters are ignored."""
    chunk = document.chunks.filter(pk=_number(passage)).first() if _number(passage) else None
    start = _start(document.text, chunk.start - BEFORE if chunk else _number(begin))
    end = min(start + STRETCH, len(document.text))
    return Shown(
        html=_html(document.text, start, end, chunk),
        chunk=chunk,
        earlier=max(0, start - STRETCH) if start else None,
        later=end if end < len(document.text) else None,
    )


@dataclass(frozen=True, slots=True)
class Page:
    """A page of a PDF as HTML, the passage if one is requested, and the page's number of `count`, from 1."""

    html: SafeString
    chunk: Chunk | None
    number: int
    count: int


def show_page(document: Document, passage: str, number: str) -> Page:
    """Return a page, or the one on which a passage begins; without both, the first. The text goes on to the end of the passage."""
    chunk = document.chunks.filter(pk=_number(passage)).first() if _number(passage) else None
    of_passage = bisect_right(document.pages, chunk.start) if chunk else 1
    shown = min(max(1, _number(number) or of_passage), len(document.pages))
    ends = [*document.pages[1:], len(document.text)]
    start, end = document.pages[shown - 1], ends[shown - 1]
    if chunk and start <= chunk.start < end:
        end = max(end, chunk.end)
    return Page(_html(document.text, start, end, chunk), chunk, shown, len(document.pages))


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0


def _start(text: str, wanted: int) -> int:
    """Return the start of the line of `wanted`, or `wanted` itself in a very long line; 0 if everything fits."""
    if len(text) <= STRETCH or wanted <= 0:
        return 0
    wanted = min(wanted, len(text) - 1)
    return text.rfind("\n", max(0, wanted - MAX_LINE), wanted) + 1 or wanted


def _html(text: str, start: int, end: int, chunk: Chunk | None) -> SafeString:
    """Return the text between two offsets, with the part of the passage that lies there marked."""
    begin, stop = (max(start, chunk.start), min(end, chunk.end)) if chunk else (end, end)
    if begin >= stop:
        return escape(text[start:end])
    marked = f'<mark id="passage" tabindex="-1">{escape(text[begin:stop])}</mark>'
    return mark_safe(escape(text[start:begin]) + marked + escape(text[stop:end]))  # noqa: S308 - every part is escaped
