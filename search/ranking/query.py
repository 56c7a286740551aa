"""Run one search: rank by meaning and by words at once, fuse both rankings, and fetch the passages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Literal, get_args

from django.db.models.functions import Left

from search import selectors
from search.index import Hit, engine
from search.index.analysis import may_be_english
from search.index.base import Terms, terms
from search.models import Chunk, Index, scope
from search.ranking import meaning, reranking
from search.ranking.confidence import is_weak
from search.ranking.fusion import WORDS_CANDIDATES, Query, fuse
from search.ranking.meaning import CANDIDATES, MIN_COSINE, Ranking
from search.ranking.reranking import Reranking
from search.selectors import Filters
from webapp.accounts.models import User
from webapp.core.database import connection_kept, in_database

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

Mode = Literal["hybrid", "semantic", "keyword"]
MODES: tuple[Mode, ...] = get_args(Mode)
BEGINNING_CHARS = 200
"""Characters of a passage that tell its language."""
MAX_QUERY_CHARS = 2000
"""Characters of a query that are embedded. Longer queries are truncated."""
NO_FILTERS = Filters()

RankBy = Callable[[Sequence[Index], Sequence[int] | None], Awaitable[Ranking]]
"""Ranks the passages of indexes, within these passages."""


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
    """The results of a search.

    Attributes:
        candidates: the ids of all ranked passages, best first; `found` holds the first of them.
        reranked: the calls of models that put the best passages into order.
        problems: sentences for the user about indexes that could not be searched.
        weak: whether nothing found seems to answer the query.
    """

    found: list[SearchResult] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    terms: Terms = field(default_factory=Terms)
    reranked: list[Reranking] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    weak: bool = False
    milliseconds: float = 0.0


async def search(
    user: User,
    query: str,
    *,
    mode: Mode = "hybrid",
    filters: Filters = NO_FILTERS,
    limit: int = 10,
    index: Index | None = None,
    rerank: bool = False,
) -> Results:
    """Search the documents that the user may read.

    Args:
        index: search this index of a collection instead of the serving one.
        rerank: let the models that collections name put the best passages of *Both* into order. This may cost money.
    """
    results = Results(terms=terms(query))
    text = query[:MAX_QUERY_CHARS]

    async def by_meaning(places: Sequence[Index], within: Sequence[int] | None) -> Ranking:
        return await meaning.rank(text, places, within, user, results.problems) if query.strip() else Ranking()

    async def by_companion(places: Sequence[Index], within: Sequence[int] | None) -> Ranking:
        helps = mode == "hybrid" and index is None and query.strip() and may_be_english(text)
        companions = [place.collection.companion for place in places if place.collection.companion is not None]
        ready = [companion for companion in companions if companion.state == Index.State.READY] if helps else []
        return await meaning.rank(text, ready, within, user, [])  # without it, the search is still whole

    search = partial(_search, user, query, results, by_meaning, by_companion)
    return await search(mode=mode, filters=filters, limit=limit, index=index, rerank=rerank and mode == "hybrid")


async def similar(user: User, chunk: Chunk, *, filters: Filters = NO_FILTERS, limit: int = 10) -> Results:
    """Return passages similar to this one, from any document, by meaning alone and without calling a model."""
    results = Results()

    async def by_meaning(places: Sequence[Index], within: Sequence[int] | None) -> Ranking:
        hits = [hit for hit in await in_database(_like, chunk, places, within) if hit.chunk_id != chunk.pk]
        return Ranking(hits, {hit.chunk_id: hit.score for hit in hits})

    return await _search(user, "", results, by_meaning, _no_ranking, mode="semantic", filters=filters, limit=limit)


async def _search(
    user: User,
    text: str,
    results: Results,
    by_meaning: RankBy,
    by_companion: RankBy,
    *,
    mode: Mode,
    filters: Filters,
    limit: int,
    index: Index | None = None,
    rerank: bool = False,
) -> Results:
    began = time.perf_counter()
    with connection_kept():
        places, within = await in_database(_places, user, filters, index)
        scopes = [scope(place.collection_id) for place in places]
        semantic, companion, keyword = await asyncio.gather(
            by_meaning(places, within) if mode != "keyword" else _no_ranking(places, within),
            by_companion(places, within),
            in_database(_keyword, results.terms, scopes, within) if mode != "semantic" else _no_words(),
        )
        if mode == "hybrid" and semantic.spaces:
            fused = await in_database(_fused, text, semantic, companion, keyword)
        else:
            fused = [*semantic.scored(), *keyword]
        if rerank and fused:
            named = {place.collection_id: place.collection.rerank_with for place in places if place.collection.rerank_with}
            fused, results.reranked = await reranking.rerank(user, text, fused, named)
        results.candidates = [hit.chunk_id for hit in fused]
        results.found = await in_database(_results, user, fused, semantic.hits, keyword, limit)
        results.weak = is_weak(Query.of(text), [result.chunk for result in results.found], semantic, companion)
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


async def _no_ranking(_places: Sequence[Index], _within: Sequence[int] | None) -> Ranking:
    return Ranking()


async def _no_words() -> list[Hit]:
    return []


def _places(user: User, filters: Filters, index: Index | None) -> tuple[list[Index], list[int] | None]:
    """Return the indexes to search, and the passages to stay within."""
    collections = filters.limited(selectors.collections(user).select_related("serving", "companion"))
    within = selectors.allowed(user, filters) if filters.by_document else None
    places = []
    for each in collections:
        chosen = index if index is not None and index.collection_id == each.pk else None
        place = chosen if index is not None else each.serving
        if place is not None:
            place.collection = each
            places.append(place)
    return places, within


def _keyword(words: Terms, scopes: Sequence[str], within: Sequence[int] | None) -> list[Hit]:
    return engine().matching(words, WORDS_CANDIDATES, scopes=scopes, within=within)


def _fused(text: str, ranking: Ranking, companion: Ranking, keyword: Sequence[Hit]) -> list[Hit]:
    """Return the rankings fused. The companion's counts half where the passage is English."""
    candidates = {hit.chunk_id for hit in [*ranking.hits, *companion.hits, *keyword]}
    meaning.add_others(ranking, candidates)
    meaning.add_others(companion, candidates)
    passages = Chunk.objects.filter(pk__in=candidates).order_by().annotate(beginning=Left("text", BEGINNING_CHARS))
    rows = list(passages.values_list("pk", "heading", "beginning"))
    english = {pk for pk, _, beginning in rows if pk in companion.deviations and may_be_english(beginning)}
    both = {pk: (score + companion.deviations[pk]) / 2 if pk in english else score for pk, score in ranking.deviations.items()}
    return fuse(Query.of(text), both, keyword, {pk: heading for pk, heading, _ in rows if heading})


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
