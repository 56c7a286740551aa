"""Passages as safe HTML with the query's words marked: the text is escaped, and nothing but `<mark>` is added."""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from search.index.base import Terms

SNIPPET_CHARS = 420
ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ied", "ers", "ed", "es", "er", "ly", "s", "e", "y")
MIN_STEM = 3
WORD = re.compile(r"\w+")


def stem(word: str) -> str:
    """The word without its ending, roughly as the full-text index sees it."""
    return next((word[: -len(end)] for end in ENDINGS if word.endswith(end) and len(word) - len(end) >= MIN_STEM), word)


def snippet(text: str, words: Terms, limit: int = SNIPPET_CHARS) -> SafeString:
    """The part of the text that holds most of the words, marked; cut at words, with dots where cut."""
    marks = _marks(text, words)
    start, end = _window(text, [begin for begin, _ in marks], limit)
    inner = marked(text[start:end], [(b - start, e - start) for b, e in marks if b >= start and e <= end])
    return mark_safe(("… " if start else "") + inner + (" …" if end < len(text) else ""))  # noqa: S308 - escaped in `marked`


def whole(text: str, words: Terms) -> SafeString:
    """All of the text, marked."""
    return mark_safe(marked(text, _marks(text, words)))  # noqa: S308 - escaped in `marked`


def marked(text: str, spans: list[tuple[int, int]]) -> str:
    """The escaped text with `<mark>` around these spans, which are in order and apart."""
    pieces: list[str] = []
    position = 0
    for begin, end in spans:
        pieces += (escape(text[position:begin]), "<mark>", escape(text[begin:end]), "</mark>")
        position = end
    return "".join([*pieces, escape(text[position:])])


def _marks(text: str, words: Terms) -> list[tuple[int, int]]:
    stems = {stem(word) for word in words.words}
    prefix = words.prefix
    return [
        found.span() for found in WORD.finditer(text) if stem(lower := found[0].lower()) in stems or (prefix and lower.startswith(prefix))
    ]


def _window(text: str, positions: list[int], limit: int) -> tuple[int, int]:
    """Bounds of `limit` characters with the most of the positions, near the start of the text where equal."""
    if len(text) <= limit:
        return 0, len(text)
    best, count = 0, 0
    for position in positions:
        inside = sum(position <= other < position + limit - 40 for other in positions)
        if inside > count:
            best, count = position, inside
    start = max(0, min(best - 40, len(text) - limit))
    start = 0 if start < 60 else start
    if start:
        start = max(text.find(" ", start, start + 40), start) if " " in text[start : start + 40] else start
    end = min(start + limit, len(text))
    if end < len(text):
        space = text.rfind(" ", start, end)
        end = space if space > start + limit // 2 else end
    return start, end
