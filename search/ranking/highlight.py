"""Write passages as safe HTML with the query's words marked: the text is escaped, and nothing but `<mark>` is added."""

from __future__ import annotations

import re

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

from search.index.analysis import MIN_COMPOUND_CHARS, SPACELESS, fold, query_stems
from search.index.base import Terms

SNIPPET_CHARS = 420
MAX_LITERAL = 12
WORD = re.compile(r"[^\W_]+")


def snippet(text: str, words: Terms, limit: int = SNIPPET_CHARS) -> SafeString:
    """Return the part of the text that holds most of the words, marked; cut at words, with dots where cut."""
    marks = _marks(text, words)
    start, end = _window(text, [begin for begin, _ in marks], limit)
    inner = marked(text[start:end], [(b - start, e - start) for b, e in marks if b >= start and e <= end])
    return mark_safe(("… " if start else "") + inner + (" …" if end < len(text) else ""))  # noqa: S308 - escaped in `marked`


def whole(text: str, words: Terms) -> SafeString:
    """Return all of the text, marked."""
    return mark_safe(marked(text, _marks(text, words)))  # noqa: S308 - escaped in `marked`


def marked(text: str, spans: list[tuple[int, int]]) -> str:
    """Return the escaped text with `<mark>` around these spans, which are in order and apart."""
    pieces: list[str] = []
    position = 0
    for begin, end in spans:
        pieces += (escape(text[position:begin]), "<mark>", escape(text[begin:end]), "</mark>")
        position = end
    return "".join([*pieces, escape(text[position:])])


def _marks(text: str, words: Terms) -> list[tuple[int, int]]:
    """Return the spans of the query's words, in order and apart."""
    wanted = frozenset(words.words)
    spans = [found.span() for found in WORD.finditer(text) if _is_wanted(found[0].lower(), words, wanted)]
    for run in words.literals:
        spans += [found.span() for found in re.finditer(_any_pair(run), text)]
    apart: list[tuple[int, int]] = []
    for begin, end in sorted(spans):
        if apart and begin < apart[-1][1]:
            apart[-1] = (apart[-1][0], max(end, apart[-1][1]))
        else:
            apart.append((begin, end))
    return apart


def _is_wanted(word: str, words: Terms, wanted: frozenset[str]) -> bool:
    if SPACELESS.search(word):
        return False
    folded = fold(word)
    if words.prefix and folded.startswith(words.prefix):
        return True
    compound = len(folded) >= MIN_COMPOUND_CHARS and any(beginning in folded for beginning in words.beginnings)
    return compound or not wanted.isdisjoint(query_stems(word))


def _any_pair(run: str) -> str:
    """Return a pattern for the run, or for the longest part of it of at least two characters."""
    parts = [run[begin:end] for begin in range(len(run)) for end in range(len(run), begin + 1, -1)] if len(run) <= MAX_LITERAL else []
    return "|".join(re.escape(part) for part in sorted(parts, key=len, reverse=True)) or re.escape(run)


def _window(text: str, positions: list[int], limit: int) -> tuple[int, int]:
    """Return the bounds of `limit` characters with the most of the positions, near the start of the text where equal."""
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
