"""Turn the numbers by which an answer cites passages into links to the results on the page."""

from __future__ import annotations

import re
from collections.abc import Sequence

from django.utils.html import format_html

TAG = re.compile(r"(<[^>]*>)")
CITATION = re.compile(r"\s?[\[【]\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*[\]】]")
"""One or more numbers in brackets: [1], [2, 3], 【4】."""
BEGUN = re.compile(r"\s?[\[【][\s\d,;]*(?=(?:</\w+>\s*)*\Z)")
"""A citation at the end of a text whose last bracket is not written yet."""
VERBATIM = frozenset({"code", "pre", "a", "math"})
"""Elements in which numbers in brackets are not citations."""


def link_citations(html: str, names: Sequence[str]) -> str:
    """Return safe HTML with a link for each cited number; numbers of passages that were not given are removed.

    Args:
        names: the names of the passages' documents, in the order of their numbers from 1.
    """
    inside = 0
    pieces = []
    for piece in TAG.split(html):
        if piece.startswith("<"):
            inside += _depth(piece)
        elif not inside:
            piece = CITATION.sub(lambda found: _links(found[1], names), piece)
        pieces.append(piece)
    return "".join(pieces)


def without_begun_citation(html: str) -> str:
    """Return the HTML of a growing block without a citation that is still being written."""
    return BEGUN.sub("", html)


def _depth(tag: str) -> int:
    """Return how many verbatim elements a tag opens: 1, 0, or -1."""
    name = re.match(r"</?([a-z0-9]+)", tag)
    if name is None or name[1] not in VERBATIM:
        return 0
    return -1 if tag.startswith("</") else 1


def _links(numbers: str, names: Sequence[str]) -> str:
    cited = [int(number) for number in re.findall(r"\d+", numbers)]
    return "".join(
        format_html('<a class="citation" href="#result-{0}" title="{1}" aria-label="Result {0}: {1}">{0}</a>', number, names[number - 1])
        for number in dict.fromkeys(cited)
        if 0 < number <= len(names)
    )
