"""Embed texts through a route like any other call, with fallback, rate limits, and cost. Vectors of two models never mix."""

from __future__ import annotations

import uuid
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from webapp.accounts.models import User
from webapp.patterns.embeddings import embedding
from webapp.patterns.embeddings.prompts import prompts_of
from webapp.patterns.errors import EmbeddingError
from webapp.patterns.types import AttemptLog

if TYPE_CHECKING:
    from search.models import Index
    from webapp.patterns.embeddings.similarity import Matrix

LIMITS = embedding.Limits(batch_size=64, batch_tokens=16_000, concurrency=2)
KEPT_QUERIES = 512


@dataclass(frozen=True, slots=True)
class Vectors:
    """(n, d) normalized rows, and the model that computed them."""

    matrix: Matrix
    answered_by: str


async def embed(texts: Sequence[str], *, model: str, user: User | None, answered_by: str = "") -> Vectors:
    """Return the vectors of `texts` by `model` (a route, backend/model, or model id).

    Args:
        user: whose rights and costs apply; None for Patchbay itself.
        answered_by: the model of the index's vectors; empty for any.

    Raises:
        EmbeddingError: the answer is not usable, or a model other than `answered_by` answered.
        BackendError, ChainError: no backend answered.
    """
    from webapp.backends.runtime import registry

    chain = await registry.resolve(model, user=user)
    trail = AttemptLog()
    try:
        matrix = await embedding.embed(chain, texts, limits=LIMITS, trail=trail)
    finally:
        registry.record(
            trail, request_id=uuid.uuid4(), source="search", user_id=user.pk if user else None, route=model, endpoint="embeddings"
        )
    models = {attempt.model for attempt in trail.attempts if attempt.outcome == "ok"}
    return Vectors(matrix, _only(models, answered_by, model))


def _only(models: set[str], wanted: str, asked: str) -> str:
    strangers = models - {wanted} if wanted else set()
    if strangers:
        raise EmbeddingError(
            f"“{asked}” was answered by {', '.join(sorted(strangers))}, but the index holds vectors of {wanted}: embed the collection again"
        )
    return wanted or (min(models) if models else asked)


async def embed_passages(texts: Sequence[str], index: Index, *, user: User | None) -> Matrix:
    """Return the vectors (n, d) of passages for an index. The first call sets the index's model and prompts; the caller saves them.

    Raises:
        As `embed`.
    """
    if not index.answered_by:
        # One text tells which model answers, and so which prompts its passages need.
        index.answered_by = (await embed(texts[:1], model=index.model, user=user)).answered_by
        prompts = prompts_of(index.answered_by)
        index.query_prompt, index.passage_prompt = prompts.query, prompts.passage
    prompted = [index.passage_prompt + text for text in texts]
    return (await embed(prompted, model=index.model, user=user, answered_by=index.answered_by)).matrix


_queries: OrderedDict[tuple[str, str, str, int | None], Matrix] = OrderedDict()


async def embed_query(text: str, index: Index, *, user: User | None) -> Matrix:
    """Return the vector (d,) of a query for an index, from a cache of the last few hundred queries if possible."""
    prompted = index.query_prompt + text
    key = (index.model, index.answered_by, prompted, user.pk if user else None)
    if key in _queries:
        _queries.move_to_end(key)
        return _queries[key]
    vectors = await embed([prompted], model=index.model, user=user, answered_by=index.answered_by)
    vector: Matrix = vectors.matrix[0]
    _queries[key] = vector
    while len(_queries) > KEPT_QUERIES:
        _queries.popitem(last=False)
    return vector


def forget_queries() -> None:
    """Empty the cache of queries."""
    _queries.clear()
