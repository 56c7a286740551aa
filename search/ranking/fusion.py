"""Fuse the rankings by meaning and by words into one score (docs/adr/0024)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import NamedTuple

from search.chunking import SEPARATOR
from search.index import Hit, analysis
from search.index.base import STOP_WORDS

WORDS_CANDIDATES = 100
WORDS_WEIGHT = 0.8
"""Of the best passage by words, in standard deviations of the cosines. The others count by how far they are above the last candidate."""
EXACT_WEIGHT = 8.0
"""Of a passage that holds a phrase or an identifier of the query, divided by the number of words in the query."""
HEADING_WEIGHT = 4.0
"""Of a passage whose heading has the words of the query and no others."""
MIN_HEADING_MATCH = 0.6
MIDDLE, WIDTH = 4.5, 1.0
"""The fused score of a passage that answers the query as often as not, and how fast the odds change around it."""
MIN_DEVIATION = 0.005
"""A smaller spread of cosines, as among copies of one text, says nothing."""


class Background(NamedTuple):
    """The cosines of a query with passages at large: mean, standard deviation, and the size of the sample."""

    mean: float
    deviation: float
    size: int

    def deviations(self, cosine: float) -> float:
        """Return how many standard deviations a cosine is above the mean. Models differ in their cosines, and little in this."""
        return (cosine - self.mean) / max(self.deviation, MIN_DEVIATION)


@dataclass(frozen=True, slots=True)
class Query:
    """The words of a query, for the comparison with headings: each as the forms that it may have in the index."""

    words: tuple[frozenset[str], ...]

    @classmethod
    def of(cls, text: str) -> Query:
        """Read a query, without its common words if others remain."""
        every = [run for run, spaceless in analysis.runs(text) if not spaceless]
        telling = [word for word in every if word not in STOP_WORDS] or every
        return cls(tuple(frozenset(analysis.query_stems(word)) for word in dict.fromkeys(telling)))

    def heading_match(self, heading: str) -> float:
        """Return how well the last part of a heading path matches: the harmonic mean of the shares of words that both have, 0 to 1."""
        title = Query.of(heading.rsplit(SEPARATOR, 1)[-1])
        if not title.words or not self.words:
            return 0.0
        shared = sum(any(word & other for other in title.words) for word in self.words)
        return 2 * shared / (len(self.words) + len(title.words))


def fuse(query: Query, meaning: Mapping[int, float], words: Sequence[Hit], headings: Mapping[int, str]) -> list[Hit]:
    """Return the passages of both rankings with their fused scores, best first.

    Args:
        meaning: the cosine of each passage, in standard deviations above the mean; a passage without one counts as the last.
        words: the ranking by words.
        headings: the heading paths of the passages.
    """
    lowest = min(meaning.values(), default=0.0)
    scores = {chunk_id: meaning.get(chunk_id, lowest) for chunk_id in [*meaning, *(hit.chunk_id for hit in words)]}
    last = words[-1].score if len(words) >= WORDS_CANDIDATES else 0.0
    spread = words[0].score - last if words else 0.0
    for hit in words:
        scores[hit.chunk_id] += WORDS_WEIGHT * (hit.score - last) / spread if spread > 0 else 0.0
        scores[hit.chunk_id] += EXACT_WEIGHT / max(len(query.words), 1) if hit.exact else 0.0
    for chunk_id, heading in headings.items():
        match = query.heading_match(heading)
        scores[chunk_id] += HEADING_WEIGHT * match if match >= MIN_HEADING_MATCH else 0.0
    fused = (Hit(chunk_id, probability(score)) for chunk_id, score in scores.items())
    return sorted(fused, key=lambda hit: (-hit.score, hit.chunk_id))


def probability(score: float) -> float:
    """Return a fused score, in standard deviations, as a number between 0 and 1: about how likely the passage answers the query."""
    return 1 / (1 + exp((MIDDLE - score) / WIDTH))


def pooled(backgrounds: Collection[Background]) -> Background:
    """Return the background of several indexes of one model together."""
    count = sum(each.size for each in backgrounds)
    if not count:
        return Background(0.0, 1.0, 0)
    mean = sum(each.mean * each.size for each in backgrounds) / count
    square = sum((each.deviation**2 + each.mean**2) * each.size for each in backgrounds) / count
    return Background(mean, max(square - mean**2, 0.0) ** 0.5, count)
