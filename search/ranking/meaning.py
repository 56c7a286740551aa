"""Rank passages by meaning: by the cosines of their vectors with the vector of the query, in every index that is searched."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from search import embedder
from search.index import Hit, engine
from search.models import Index
from search.ranking.fusion import Background, pooled, probability
from search.ranking.language_shift import shift_to_passages
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.errors import PatternError

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

CANDIDATES = 60
MIN_COSINE = 0.1

Key = tuple[str, str, str]
SpaceKey = tuple[str, str, str, bytes]


@dataclass(slots=True)
class _Space:
    """The indexes that are searched with one vector, and the cosines of the query with their passages at large."""

    vector: Matrix
    indexes: list[Index] = field(default_factory=list)
    backgrounds: list[Background] = field(default_factory=list)
    best: float = -1.0
    """The highest cosine."""


@dataclass(slots=True)
class Ranking:
    """Passages by meaning.

    Attributes:
        hits: the best passages with their cosines, best first.
        deviations: of each passage, how many standard deviations its cosine is above the mean of its model.
    """

    hits: list[Hit] = field(default_factory=list)
    deviations: dict[int, float] = field(default_factory=dict)
    spaces: list[_Space] = field(default_factory=list)

    def scored(self) -> list[Hit]:
        """Return the best passages with scores between 0 and 1, or with their cosines if no index was asked."""
        return [hit._replace(score=probability(self.deviations[hit.chunk_id])) for hit in self.hits] if self.spaces else self.hits


async def rank(query: str, places: Sequence[Index], within: Sequence[int] | None, user: User, problems: list[str]) -> Ranking:
    """Search each index with a vector of its own model. A failing model is named in `problems`, and the others still answer."""
    places = [index for index in places if index.rows]
    models = {_key(index): index for index in places}
    answers = await asyncio.gather(*(embedder.embed_query(query, index, user=user) for index in models.values()), return_exceptions=True)
    vectors = dict(zip(models, answers, strict=True))
    asked = [_nearest(vectors[_key(index)], query, index, within) for index in places]
    spaces: dict[SpaceKey, _Space] = {}
    found: list[tuple[SpaceKey, Hit]] = []
    for index, answer in zip(places, await asyncio.gather(*asked, return_exceptions=True), strict=True):
        if isinstance(answer, PatternError):
            problems.append(answer.message.rstrip("."))
        elif isinstance(answer, BaseException):
            raise answer
        else:
            key = (*_key(index), answer.vector.tobytes())  # indexes of other languages have other vectors
            space = spaces.setdefault(key, _Space(answer.vector))
            space.indexes.append(index)
            space.backgrounds.append(answer.background)
            space.best = max([space.best, *(hit.score for hit in answer.hits[:1])])
            found += [(key, hit) for hit in answer.hits if hit.score >= MIN_COSINE]
    problems[:] = list(dict.fromkeys(problems))
    return _ranking(spaces, found)


def _ranking(spaces: dict[SpaceKey, _Space], found: Sequence[tuple[SpaceKey, Hit]]) -> Ranking:
    backgrounds = {key: pooled(space.backgrounds) for key, space in spaces.items()}
    deviations = {hit.chunk_id: backgrounds[key].deviations(hit.score) for key, hit in found}
    hits = sorted((hit for _, hit in found), key=lambda hit: (-deviations[hit.chunk_id], hit.chunk_id))[:CANDIDATES]
    return Ranking(hits, {hit.chunk_id: deviations[hit.chunk_id] for hit in hits}, list(spaces.values()))


def add_others(ranking: Ranking, passages: Iterable[int]) -> None:
    """Add the deviations of further passages, which other rankings found."""
    missing = [chunk_id for chunk_id in passages if chunk_id not in ranking.deviations]
    for space in ranking.spaces if missing else ():
        background = pooled(space.backgrounds)
        for index in space.indexes:
            for chunk_id, vector in engine().vectors(index, missing).items():
                ranking.deviations[chunk_id] = background.deviations(float(vector @ space.vector))


def _key(index: Index) -> Key:
    """Return a key. For indexes with the same key, a query is embedded once."""
    return index.model, index.answered_by, index.query_prompt


@dataclass(frozen=True, slots=True)
class _Answer:
    vector: Matrix
    hits: list[Hit]
    background: Background


async def _nearest(vector: Matrix | BaseException, query: str, index: Index, within: Sequence[int] | None) -> _Answer:
    if isinstance(vector, BaseException):
        raise vector
    return await in_database(_search, index, await shift_to_passages(vector, query, index), within)


def _search(index: Index, vector: Matrix, within: Sequence[int] | None) -> _Answer:
    return _Answer(vector, engine().nearest(index, vector, CANDIDATES, within=within), Background(*engine().background(index, vector)))
