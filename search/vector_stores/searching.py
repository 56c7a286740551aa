"""Search stores for the API and for the `file_search` tool."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from search.models import Collection
from search.ranking.query import Mode, SearchResult, search
from search.selectors import Filters
from webapp.accounts.models import User
from webapp.patterns.openai.attribute_filters import matcher_of
from webapp.patterns.types import Json

DEFAULT_RESULTS = 10
MAX_RESULTS = 50
KEYWORD_STRENGTH = 0.5
"""The score of the best passage where only its words were found, as no cosine tells how close it is."""


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a search.

    Attributes:
        limit: the most results.
        threshold: the lowest score of a result.
        filters: a filter over attributes.
        mode: the rankings to use.
        rerank: whether the models that stores name put the best passages into order.
    """

    limit: int = DEFAULT_RESULTS
    threshold: float = 0.0
    filters: Json | None = None
    mode: Mode = "hybrid"
    rerank: bool = True

    @classmethod
    def of(cls, body: Json) -> Options:
        """Return the options in the body of a search, or in a `file_search` tool."""
        ranking = body.get("ranking_options") or {}
        return cls(
            limit=min(int(body.get("max_num_results") or DEFAULT_RESULTS), MAX_RESULTS),
            threshold=float(ranking.get("score_threshold") or 0),
            filters=body.get("filters") or None,
            mode=_mode(ranking.get("hybrid_search") or {}),
            rerank=ranking.get("ranker") != "none",
        )


def _mode(weights: Json) -> Mode:
    """Return the rankings that the weights leave: a weight of zero turns one off."""
    if not weights.get("text_weight", 1):
        return "semantic"
    return "keyword" if not weights.get("embedding_weight", 1) else "hybrid"


@dataclass(frozen=True, slots=True)
class Scored:
    """A passage and its score from 0 to 1."""

    result: SearchResult
    score: float


async def search_stores(user: User, stores: Sequence[Collection], queries: Sequence[str], options: Options) -> list[Scored]:
    """Return the best passages over all queries, best first. Each passage comes once, with its best score.

    Args:
        stores: the collections to search; none for all that the user may read.
    """
    filters = Filters(
        collections=tuple(store.pk for store in stores),
        attributes=matcher_of(options.filters) if options.filters else None,
    )
    asked = [
        search(user, query, mode=options.mode, filters=filters, limit=options.limit, rerank=options.rerank)
        for query in dict.fromkeys(queries)
    ]
    best: dict[int, Scored] = {}
    for results in await asyncio.gather(*asked):
        for scored in _scored(results.found):
            key = scored.result.chunk.pk
            if key not in best or best[key].score < scored.score:
                best[key] = scored
    ranked = sorted(best.values(), key=lambda scored: -scored.score)
    return [scored for scored in ranked[: options.limit] if scored.score >= options.threshold]


def _scored(found: Sequence[SearchResult]) -> list[Scored]:
    """Return the results with scores in their order: the best cosine among them, scaled down by rank.

    The fused score only orders the results of one query. A cosine tells how close the best passage is, so that a threshold works.
    """
    if not found or found[0].score <= 0:
        return [Scored(result, 0.0) for result in found]
    cosines = [result.semantic[1] for result in found if result.semantic]
    strength = min(max(cosines), 1.0) if cosines else KEYWORD_STRENGTH
    return [Scored(result, round(strength * result.score / found[0].score, 4)) for result in found]
