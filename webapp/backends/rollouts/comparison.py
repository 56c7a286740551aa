"""Compare an answer of a route with the candidate's answer to a copy of the request."""

from __future__ import annotations

from difflib import SequenceMatcher
from typing import Final

MAX_WORDS: Final = 400
"""Words compared of each text: the comparison takes up to 20 ms for this many."""


def similarity(one: str, other: str) -> float:
    """Return how alike two texts are: the share of words, from 0 to 1, that they have in common in the same order.

    Only the first `MAX_WORDS` words count. Two empty texts are the same.
    """
    return SequenceMatcher(None, one.split()[:MAX_WORDS], other.split()[:MAX_WORDS], autojunk=False).ratio()
