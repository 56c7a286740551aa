"""Judge whether anything that a search found seems to answer the query."""

from __future__ import annotations

from collections.abc import Sequence

from search.models import Chunk
from search.ranking.fusion import Query
from search.ranking.meaning import Ranking
from webapp.builtin import E5, MINILM

LOWEST_COSINES = {MINILM.name: 0.3, E5.name: 0.8}
"""Of 939 questions about the indexed FAQs, more than 99 % have a better best passage; of 30 English questions about other subjects, nine in
ten have none by MiniLM. By E5, which answers for the other languages, only the clearest cases fall below."""
CHECKED = 3
"""Results whose words are compared with the query's."""


def is_weak(query: Query, found: Sequence[Chunk], ranking: Ranking, companion: Ranking) -> bool:
    """Return whether the best cosine is low and no good result has all words of the query. Models without a known limit never say so."""
    bests = [(space.indexes[0].answered_by, space.best) for space in companion.spaces or ranking.spaces]
    if not bests or any(best >= LOWEST_COSINES.get(model, -1.0) for model, best in bests):
        return False
    return not any(_has_all(query, chunk) for chunk in found[:CHECKED])


def _has_all(query: Query, chunk: Chunk) -> bool:
    tokens = frozenset(f"{chunk.heading_words} {chunk.text_words} {chunk.word_parts}".split())
    return bool(query.words) and all(word & tokens for word in query.words)
