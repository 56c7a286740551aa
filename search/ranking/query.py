"""Run one search: rank by meaning and by words at once, fuse both rankings, and fetch the passages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from search import selectors
from search.index import Hit, engine
from search.index.base import Terms, terms
from search.models import Chunk, Index, scope
from search.ranking import meaning
from search.ranking.fusion import Query, fuse, probability
from search.ranking.meaning import CANDIDATES, MIN_COSINE, Ranking
from search.selectors import Filters
from webapp.accounts.models import User
from webapp.core.database import connection_kept, in_database

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

Mode = Literal["hybrid", "semantic", "keyword"]
MODES: tuple[Mode, ...] = get_args(Mode)
MAX_QUERY_CHARS = 2000
"""Characters of a query that are embedded. Longer queries are truncated."""
NO_FILTERS = Filters()


@dataclass(frozen=True, slots=True)
class SearchResult:
    """A passage, its fused score, and each ranker's (rank from 1, score), or None if the ranker did not find it."""

    chunk: Chunk
    score: float
    semantic: tuple[int, float] | None
    keyword: tuple[int, float] | None
    keyword_share: float = 0.0
    """The full-text score as a share of the best one's."""


@dataclass(slots=True)
class Results:
    """The results of a search. `problems` are sentences for the user about indexes that could not be searched."""

    found: list[SearchResult] = field(default_factory=list)
    terms: Terms = field(default_factory=Terms)
    problems: list[str] = field(default_factory=list)
    milliseconds: float = 0.0


async def search(
    user: User, query: str, *, mode: Mode = "hybrid", filters: Filters = NO_FILTERS, limit: int = 10, index: Index | None = None
) -> Results:
    """Search the documents that the user may read.

    Args:
        index: search this index of a collection instead of the serving one.
    """
    results = Results(terms=terms(query))

    async def by_meaning(places: Sequence[Index], within: Sequence[int] | None) -> Ranking:
        return await meaning.rank(query[:MAX_QUERY_CHARS], places, within, user, results.problems) if query.strip() else Ranking()

    return await _search(user, query, results, by_meaning, mode=mode, filters=filters, limit=limit, index=index)


async def similar(user: User, chunk: Chunk, *, filters: Filters = NO_FILTERS, limit: int = 10) -> Results:
    """Return passages similar to this one, from any document, by meaning alone and without calling a model."""
    results = Results()

    async def by_meaning(places: Sequence[Index], within: Sequence[int] | None) -> Ranking:
        hits = [hit for hit in await in_database(_like, chunk, places, within) if hit.chunk_id != chunk.pk]
        return Ranking(hits, {hit.chunk_id: hit.score for hit in hits})

    return await _search(user, "", results, by_meaning, mode="semantic", filters=filters, limit=limit)


async def _search(
    user: User,
    text: str,
    results: Results,
    by_meaning: Callable[[Sequence[Index], Sequence[int] | None], Awaitable[Ranking]],
    *,
    mode: Mode,
    filters: Filters,
    limit: int,
    index: Index | None = None,
) -> Results:
    began = time.perf_counter()
    with connection_kept():
        places, within = await in_database(_places, user, filters, index)
        scopes = [scope(place.collection_id) for place in places]
        semantic, keyword = await asyncio.gather(
            by_meaning(places, within) if mode != "keyword" else _no_ranking(),
            in_database(_keyword, results.terms, scopes, within) if mode != "semantic" else _no_words(),
        )
        fused = await in_database(_fused, text, semantic, keyword)
        results.found = await in_database(_results, user, fused, semantic.hits, keyword, limit)
    if mode != "keyword":
        results.problems += [note for place in places if (note := _incomplete(place))]
    results.milliseconds = (time.perf_counter() - began) * 1000
    return results


def _incomplete(index: Index) -> str:
    """Return a note for the user about an index that does not hold all of its collection."""
    name = index.collection.name
    if index.state == Index.State.BUILDING:
        return f"“{name}” is still being embedded. Until then, semantic search does not find all of its passages"
    if index.state == Index.State.FAILED:
        return f"Embedding the rest of “{name}” failed, so semantic search does not find all of its passages: {index.why}"
    return ""


async def _no_ranking() -> Ranking:
    return Ranking()


async def _no_words() -> list[Hit]:
    return []


def _places(user: User, filters: Filters, index: Index | None) -> tuple[list[Index], list[int] | None]:
    """Return the indexes to search, and the passages to stay within."""
    collections = filters.limited(selectors.collections(user).select_related("serving"))
    within = selectors.allowed(user, filters) if filters.by_document else None
    places = []
    for each in collections:
        place = index if index is not None and each.pk == index.collection_id else each.serving if index is None else None
        if place is not None:
            place.collection = each
            places.append(place)
    return places, within


def _keyword(words: Terms, scopes: Sequence[str], within: Sequence[int] | None) -> list[Hit]:
    return engine().matching(words, CANDIDATES, scopes=scopes, within=within)


def _fused(text: str, ranking: Ranking, keyword: Sequence[Hit]) -> list[Hit]:
    """Return both rankings fused; a ranking alone stays as it is."""
    if not keyword:
        return (
            [hit._replace(score=probability(ranking.deviations[hit.chunk_id])) for hit in ranking.hits] if ranking.spaces else ranking.hits
        )
    if not ranking.spaces:
        return list(keyword)
    meaning.add_others(ranking, [hit.chunk_id for hit in keyword])
    candidates = {hit.chunk_id for hit in [*ranking.hits, *keyword]}
    headings = dict(Chunk.objects.filter(pk__in=candidates).exclude(heading="").order_by().values_list("pk", "heading"))
    return fuse(Query.of(text), ranking.deviations, keyword, headings)


def _like(chunk: Chunk, places: Sequence[Index], within: Sequence[int] | None) -> list[Hit]:
    """Return the passages nearest to the passage's own vector, in indexes of the same model."""
    home = next((index for index in places if index.collection_id == chunk.collection_id), None)
    vector: Matrix | None = engine().vectors(home, [chunk.pk]).get(chunk.pk) if home else None
    if home is None or vector is None:
        return []
    same = [index for index in places if _space(index) == _space(home)]
    return _together([engine().nearest(index, vector, CANDIDATES, within=within) for index in same])


def _space(index: Index) -> tuple[str, int | None, str]:
    """Return a key. Vectors of indexes with the same key can be compared."""
    return index.answered_by, index.dimension, index.passage_prompt


def _together(lists: Sequence[Sequence[Hit]]) -> list[Hit]:
    every = [hit for hits in lists for hit in hits if hit.score >= MIN_COSINE]
    return sorted(every, key=lambda hit: -hit.score)[:CANDIDATES]


def _results(user: User, fused: Sequence[Hit], semantic: Sequence[Hit], keyword: Sequence[Hit], limit: int) -> list[SearchResult]:
    by_meaning = {hit.chunk_id: (rank, hit.score) for rank, hit in enumerate(semantic, 1)}
    by_words = {hit.chunk_id: (rank, hit.score) for rank, hit in enumerate(keyword, 1)}
    best = keyword[0].score if keyword else 0.0
    results: list[SearchResult] = []
    for start in range(0, len(fused), limit):
        if len(results) >= limit:
            break
        window = fused[start : start + limit]
        known = selectors.chunks(user, [hit.chunk_id for hit in window])
        for hit in window:
            if hit.chunk_id in known:
                words = by_words.get(hit.chunk_id)
                share = words[1] / best if words and best > 0 else 0.0
                results.append(SearchResult(known[hit.chunk_id], hit.score, by_meaning.get(hit.chunk_id), words, share))
    return results[:limit]
