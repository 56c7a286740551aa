"""Split a document's text into passages: along headings, then paragraphs, lines, and sentences, within a token limit."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from search.parsing.document import Heading, Parsed

TARGET_TOKENS = 200
"""Fits into the 256 word pieces that the built-in model reads, including the heading path."""
SMALL_TOKENS = 40
"""A smaller section is joined with the next one."""
MAX_PATH_CHARS = 300
SEPARATOR = " › "
# Each is finer than the one before. A piece without any of these breaks is cut by length.
_SPLITTERS = (
    re.compile(r"\n[ \t]*\n\s*"),
    re.compile(r"\n+"),
    re.compile(r"(?<=[.!?;:。！？])\s+"),
    re.compile(r"\s+"),
)
HARD_CUT_CHARS = 200
LONG_CHARS = 40
PIECES_PER_OVERLAP = 4
"""Passages overlap by whole pieces, so the pieces are a quarter of the overlap or smaller."""

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


def passages(parsed: Parsed, count: Count, *, target: int = TARGET_TOKENS, overlap: int = 0) -> Iterator[Passage]:
    """Return the passages of a document in order. Together they hold all of its text except headings without text.

    Args:
        count: returns the tokens of a text.
        target: the largest number of tokens of a passage.
        overlap: the largest number of tokens that a passage repeats from the end of the one before; at most half of `target`.
    """
    piece = max(overlap // PIECES_PER_OVERLAP, 1) if overlap else target
    for section in _merged(_sections(parsed, count), target):
        for span in _pack(_cut(parsed.text, section.start, section.end, count, piece), target, overlap):
            text = parsed.text[span.start : span.end]
            yield Passage(section.heading, text, span.start, span.end, span.tokens)


def _sections(parsed: Parsed, count: Count) -> Iterator[_Section]:
    """Return the text between headings, each with its heading path. A section without text is omitted."""
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
    """Join small sections with the following text, under the first one's heading."""
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
    """Return pieces of text[start:end] with at most `target` tokens, split as coarsely as possible."""
    for begin, stop in _split(text, start, end, depth):
        # a long piece is cut without being counted first
        tokens = count(text[begin:stop]) if stop - begin < target * LONG_CHARS else target + 1
        if tokens <= target or depth == len(_SPLITTERS):
            yield _Span(begin, stop, tokens)
        else:
            yield from _cut(text, begin, stop, count, target, depth + 1)


def _split(text: str, start: int, end: int, depth: int) -> Iterator[tuple[int, int]]:
    """Return the bounds of the pieces between separators, without surrounding white space."""
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


def _pack(spans: Iterator[_Span], target: int, overlap: int = 0) -> Iterator[_Span]:
    """Join neighboring pieces while they fit. Each result begins with the last pieces of the one before, up to `overlap` tokens."""
    held: deque[_Span] = deque()
    tokens = 0
    for span in spans:
        if held and tokens + span.tokens > target:
            yield _Span(held[0].start, held[-1].end, tokens)
            while held and (tokens > overlap or tokens + span.tokens > target):
                tokens -= held.popleft().tokens
        held.append(span)
        tokens += span.tokens
    if held:
        yield _Span(held[0].start, held[-1].end, tokens)
