"""Run one search: rank by meaning and by words at once, fuse both rankings, and fetch the passages."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from search import embedder, selectors
from search.index import Hit, engine
from search.index.base import Terms, terms
from search.models import Chunk, Index, scope
from search.selectors import Filters
from webapp.accounts.models import User
from webapp.core.database import connection_kept, in_database
from webapp.patterns.errors import PatternError

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

Mode = Literal["hybrid", "semantic", "keyword"]
MODES: tuple[Mode, ...] = get_args(Mode)
CANDIDATES = 60
MAX_QUERY_CHARS = 2000
"""Characters of a query that are embedded. Longer queries are truncated."""
RANK_OFFSET = 4
KEYWORD_WEIGHT = 2.0
"""Of reciprocal rank fusion: how little the first ranks are preferred, and how much words count beside meaning. Chosen on one half of the
Python documentation's known items and measured on the other and on another corpus (docs/search.md): the customary 60 and 1 rank below
words alone there."""
EXACT_WEIGHT = 2.0
"""A phrase or an identifier of the query, found as it is, outweighs a first rank by meaning."""
MIN_COSINE = 0.1
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
    """The results of a search.

    Attributes:
        candidates: the ids of all ranked passages, best first; `found` holds the first of them.
        problems: sentences for the user about indexes that could not be searched.
        weak: whether nothing found seems to answer the query.
        suggestions: other spellings of the query that the documents hold.
    """

    found: list[SearchResult] = field(default_factory=list)
    candidates: list[int] = field(default_factory=list)
    terms: Terms = field(default_factory=Terms)
    problems: list[str] = field(default_factory=list)
    weak: bool = False
    suggestions: list[str] = field(default_factory=list)
    milliseconds: float = 0.0


async def search(
    user: User, query: str, *, mode: Mode = "hybrid", filters: Filters = NO_FILTERS, limit: int = 10, index: Index | None = None
) -> Results:
    """Search the documents that the user may read.

    Args:
        index: search this index of a collection instead of the serving one.
    """
    results = Results(terms=terms(query))

    async def by_meaning(places: Sequence[Index], within: Sequence[int] | None) -> list[Hit]:
        return await _semantic(query[:MAX_QUERY_CHARS], places, within, user, results.problems) if query.strip() else []

    return await _search(user, results, by_meaning, mode=mode, filters=filters, limit=limit, index=index)


async def similar(user: User, chunk: Chunk, *, filters: Filters = NO_FILTERS, limit: int = 10) -> Results:
    """Return passages similar to this one, from any document, by meaning alone and without calling a model."""
    results = Results()

    async def by_meaning(places: Sequence[Index], within: Sequence[int] | None) -> list[Hit]:
        return [hit for hit in await in_database(_like, chunk, places, within) if hit.chunk_id != chunk.pk]

    return await _search(user, results, by_meaning, mode="semantic", filters=filters, limit=limit)


async def _search(
    user: User,
    results: Results,
    by_meaning: Callable[[Sequence[Index], Sequence[int] | None], Awaitable[list[Hit]]],
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
            by_meaning(places, within) if mode != "keyword" else _nothing(),
            in_database(_keyword, results.terms, scopes, within) if mode != "semantic" else _nothing(),
        )
        fused = fuse((semantic, 1.0), (keyword, KEYWORD_WEIGHT), ([hit for hit in keyword if hit.exact], EXACT_WEIGHT))
        results.candidates = [hit.chunk_id for hit in fused]
        results.found = await in_database(_results, user, fused, semantic, keyword, limit)
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


async def _nothing() -> list[Hit]:
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


async def _semantic(query: str, places: Sequence[Index], within: Sequence[int] | None, user: User, problems: list[str]) -> list[Hit]:
    """Search each index with a vector of its own model. A failing model is named, and the others still answer."""
    places = [index for index in places if index.rows]
    models = {_model(index): index for index in places}
    answers = await asyncio.gather(*(embedder.embed_query(query, index, user=user) for index in models.values()), return_exceptions=True)
    vectors = dict(zip(models, answers, strict=True))
    asked = [_nearest(vectors[_model(index)], index, within) for index in places]
    found: list[list[Hit]] = []
    for answer in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(answer, PatternError):
            problems.append(answer.message.rstrip("."))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            found.append(answer)
    problems[:] = list(dict.fromkeys(problems))
    return _together(found)


def _model(index: Index) -> tuple[str, str]:
    """Return a key. Indexes with the same key are searched with one vector."""
    return index.model, index.answered_by


async def _nearest(vector: Matrix | BaseException, index: Index, within: Sequence[int] | None) -> list[Hit]:
    if isinstance(vector, BaseException):
        raise vector
    return await in_database(engine().nearest, index, vector, CANDIDATES, within=within)


def _like(chunk: Chunk, places: Sequence[Index], within: Sequence[int] | None) -> list[Hit]:
    """Return the passages nearest to the passage's own vector, in indexes of the same model."""
    home = next((index for index in places if index.collection_id == chunk.collection_id), None)
    vector: Matrix | None = engine().vectors(home, [chunk.pk]).get(chunk.pk) if home else None
    if home is None or vector is None:
        return []
    same = [index for index in places if (index.answered_by, index.dimension) == (home.answered_by, home.dimension)]
    return _together([engine().nearest(index, vector, CANDIDATES, within=within) for index in same])


def _together(lists: Sequence[Sequence[Hit]]) -> list[Hit]:
    every = [hit for hits in lists for hit in hits if hit.score >= MIN_COSINE]
    return sorted(every, key=lambda hit: -hit.score)[:CANDIDATES]


def fuse(*rankings: tuple[Sequence[Hit], float]) -> list[Hit]:
    """Fuse rankings with weights by reciprocal rank fusion.

    Passages that several rankings place high come first, regardless of score scales.
    """
    scores: dict[int, float] = {}
    for ranking, weight in rankings:
        for rank, hit in enumerate(ranking, 1):
            scores[hit.chunk_id] = scores.get(hit.chunk_id, 0.0) + weight / (RANK_OFFSET + rank)
    return sorted((Hit(*item) for item in scores.items()), key=lambda hit: (-hit.score, hit.chunk_id))


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
