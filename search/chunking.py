"""Cut a document's text into passages: along headings, then paragraphs, lines and sentences, never over a number of tokens."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from search.parsing.document import Heading, Parsed

TARGET_TOKENS = 200
"""Fits the 256 word pieces that the built-in model reads, with the heading path before it."""
SMALL_TOKENS = 40
"""A section smaller than this goes with the next one."""
MAX_PATH_CHARS = 300
SEPARATOR = " › "
# Each finer than the one before; what they leave too long has no breaks at all and is cut by length.
_SPLITTERS = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n+"),
    re.compile(r"(?<=[.!?;:。！？])\s+"),
    re.compile(r"\s+"),
)
HARD_CUT_CHARS = 200
LONG_CHARS = 40

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Passage:
    """`text` is the document's text from `start` to `end`."""

    heading: str
    text: str
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class _Section:
    heading: str
    start: int
    end: int
    tokens: int


def passages(parsed: Parsed, count: Count, *, target: int = TARGET_TOKENS) -> Iterator[Passage]:
    """The passages of a document in order; together they hold all of its text but lone headings.

    Args:
        count: tokens of a text.
        target: tokens of a passage, at most.
    """
    for section in _merged(_sections(parsed, count), target):
        for span in _pack(_cut(parsed.text, section.start, section.end, count, target), target):
            text = parsed.text[span.start : span.end]
            yield Passage(section.heading, text, span.start, span.end, span.tokens)


def _sections(parsed: Parsed, count: Count) -> Iterator[_Section]:
    """The text between headings, each with the path of headings above it; sections of a heading alone are left out."""
    headings = sorted(parsed.headings, key=lambda heading: heading.start)
    path: list[Heading] = []
    bounds = [Heading(0, 0, ""), *headings]
    for heading, following in zip(bounds, [*[h.start for h in headings], len(parsed.text)], strict=True):
        path = [above for above in path if above.level < heading.level] + ([heading] if heading.title else [])
        body = parsed.text[heading.start : following]
        if body.strip() and body.strip("#=-~ \n") != heading.title.strip("#=-~ \n"):
            yield _Section(_path(path), heading.start, following, count(body) if len(body) < TARGET_TOKENS * LONG_CHARS else TARGET_TOKENS)


def _path(path: Sequence[Heading]) -> str:
    titles = [heading.title for heading in path]
    while len(titles) > 1 and len(SEPARATOR.join(titles)) > MAX_PATH_CHARS:
        titles.pop(0)
    return SEPARATOR.join(titles)[:MAX_PATH_CHARS]


def _merged(sections: Iterator[_Section], target: int) -> Iterator[_Section]:
    """Tiny sections joined with what follows, under the first one's heading."""
    held: _Section | None = None
    for section in sections:
        if held and (held.tokens < SMALL_TOKENS or section.tokens < SMALL_TOKENS) and held.tokens + section.tokens <= target:
            held = _Section(held.heading or section.heading, held.start, section.end, held.tokens + section.tokens)
        else:
            if held:
                yield held
            held = section
    if held:
        yield held


def _cut(text: str, start: int, end: int, count: Count, target: int, depth: int = 0) -> Iterator[_Span]:
    """Pieces of text[start:end] of at most `target` tokens, cut as coarsely as possible."""
    for begin, stop in _split(text, start, end, depth):
        # a long piece is cut without being counted first
        tokens = count(text[begin:stop]) if stop - begin < target * LONG_CHARS else target + 1
        if tokens <= target or depth == len(_SPLITTERS):
            yield _Span(begin, stop, tokens)
        else:
            yield from _cut(text, begin, stop, count, target, depth + 1)


def _split(text: str, start: int, end: int, depth: int) -> Iterator[tuple[int, int]]:
    """Bounds of the pieces between separators, without white space around them."""
    if depth == len(_SPLITTERS):
        yield from ((at, min(at + HARD_CUT_CHARS, end)) for at in range(start, end, HARD_CUT_CHARS))
        return
    position = start
    for separator in [*_SPLITTERS[depth].finditer(text, start, end), None]:
        stop = separator.start() if separator else end
        piece = text[position:stop]
        if piece.strip():
            yield position + len(piece) - len(piece.lstrip("\n")), position + len(piece.rstrip())
        position = separator.end() if separator else end


def _pack(spans: Iterator[_Span], target: int) -> Iterator[_Span]:
    """Neighboring pieces joined while they fit."""
    held: _Span | None = None
    for span in spans:
        if held and held.tokens + span.tokens <= target:
            held = _Span(held.start, span.end, held.tokens + span.tokens)
        else:
            if held:
                yield held
            held = span
    if held:
        yield held
