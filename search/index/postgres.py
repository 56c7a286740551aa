"""Implement the engine in PostgreSQL: pgvector with HNSW for vectors, and its full text for words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from django.db import connection, transaction

from search.index.base import NO_SAMPLE, SAMPLE, Hit, Terms, exact_first
from search.models import Index
from webapp.patterns.errors import EmbeddingError

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

MAX_HNSW_DIMENSION = 2000
"""pgvector's limit for indexed vectors. Beyond it the scan is exact."""
SEARCH_BREADTH = 100
WEIGHTS = "'{0.03, 0.1, 0.4, 1.0}'::float4[]"
"""Of parts of words (D), nothing (C), the text (B) and the heading (A)."""


class PostgresEngine:
    """See `search.index.base.Engine`. Vectors of all indexes share a table; each index has an HNSW index over its own part."""

    def add(self, index: Index, ids: Sequence[int], vectors: Matrix) -> None:
        """Insert vectors of shape (n, dimension). Raise `EmbeddingError` when the dimension is not the index's."""
        with transaction.atomic():
            fresh = Index.objects.select_for_update().get(pk=index.pk)
            dimension = fresh.dimension or int(vectors.shape[1])
            if vectors.shape[1] != dimension:
                raise EmbeddingError(f"The vectors have {vectors.shape[1]} dimensions and the index {dimension}")
            if fresh.dimension is None:
                self._prepare(fresh.pk, dimension)
            rows = [(fresh.pk, number, _text(vector)) for number, vector in zip(ids, vectors, strict=True)]
            with connection.cursor() as cursor:
                cursor.executemany(
                    "INSERT INTO search_vector (index_id, chunk_id, embedding) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING", rows
                )
            fresh.dimension, fresh.rows = dimension, fresh.rows + len(rows)
            fresh.save(update_fields=["dimension", "rows"])
        index.rows, index.dimension = fresh.rows, fresh.dimension

    def _prepare(self, index_id: int, dimension: int) -> None:
        if dimension <= MAX_HNSW_DIMENSION:
            _run(
                f"CREATE INDEX IF NOT EXISTS search_vector_hnsw_{index_id:d} ON search_vector "
                f"USING hnsw ((embedding::vector({dimension:d})) vector_cosine_ops) WHERE index_id = {index_id:d}"
            )

    def remove(self, index: Index, ids: Sequence[int]) -> None:
        """Delete the vectors of these passages."""
        _run("DELETE FROM search_vector WHERE index_id = %s AND chunk_id = ANY(%s)", [index.pk, list(ids)])

    def drop(self, index: Index) -> None:
        """Delete the vectors of an index, and its HNSW index."""
        _run(f"DROP INDEX IF EXISTS search_vector_hnsw_{index.pk:d}")
        _run("DELETE FROM search_vector WHERE index_id = %s", [index.pk])

    def check(self, index: Index) -> None:
        """Create the HNSW index if it is missing."""
        if index.dimension:
            self._prepare(index.pk, index.dimension)

    def ids(self, index: Index) -> set[int]:
        """Return the ids of the passages that have a vector."""
        return {row[0] for row in _rows("SELECT chunk_id FROM search_vector WHERE index_id = %s", [index.pk])}

    def count(self, index: Index) -> int:
        """Return the number of passages that have a vector."""
        return int(_rows("SELECT count(*) FROM search_vector WHERE index_id = %s", [index.pk])[0][0])

    def vectors(self, index: Index, ids: Sequence[int]) -> dict[int, Matrix]:
        """Return the vectors of these passages, each of shape (dimension,)."""
        import numpy as np

        sql = "SELECT chunk_id, embedding::text FROM search_vector WHERE index_id = %s AND chunk_id = ANY(%s)"
        return {number: np.array(text[1:-1].split(","), np.float32) for number, text in _rows(sql, [index.pk, list(ids)])}

    def background(self, index: Index, query: Matrix) -> tuple[float, float, int]:
        """See `Engine`. The sample is the first rows that the server finds."""
        if index.dimension != len(query):
            return NO_SAMPLE
        sql = f"""
            SELECT avg(cosine), stddev_pop(cosine), count(*) FROM (
                SELECT 1 - (embedding::vector({index.dimension:d}) <=> %(query)s) AS cosine
                FROM search_vector WHERE index_id = {index.pk:d} LIMIT {SAMPLE:d}
            ) AS sample
        """  # noqa: S608 - numbers of our own; the query is a parameter
        mean, deviation, count = _rows(sql, {"query": _text(query)})[0]
        return (float(mean), float(deviation), int(count)) if count else NO_SAMPLE

    def nearest(self, index: Index, query: Matrix, k: int, *, within: Sequence[int] | None = None) -> list[Hit]:
        """Return the k passages with the highest cosine similarity, best first."""
        if not index.dimension:
            return []
        if len(query) != index.dimension:
            raise EmbeddingError(f"The query has {len(query)} dimensions and the index {index.dimension}: they come from different models")
        limits = "AND chunk_id = ANY(%(within)s)" if within is not None else ""
        column = f"embedding::vector({index.dimension:d})"
        sql = f"""
            SELECT chunk_id, 1 - ({column} <=> %(query)s) FROM search_vector
            WHERE index_id = {index.pk:d} {limits} ORDER BY {column} <=> %(query)s LIMIT %(k)s
        """  # noqa: S608 - numbers of our own; what comes from people are parameters
        with transaction.atomic():
            _run(f"SET LOCAL hnsw.ef_search = {max(SEARCH_BREADTH, min(k, 1000)):d}")
            _run("SET LOCAL hnsw.iterative_scan = relaxed_order")
            found = _rows(sql, {"query": _text(query), "k": k, "within": None if within is None else list(within)})
        return sorted((Hit(*row) for row in found), key=lambda hit: -hit.score)

    def matching(self, words: Terms, k: int, *, scopes: Sequence[str], within: Sequence[int] | None = None) -> list[Hit]:
        """Return the k passages that match the words best, best first."""
        if not words or not scopes:
            return []
        hits = self._ranked(_any_of(words), _any_of(words), k, scopes, within)
        if not words.phrases:
            return hits
        return exact_first(self._ranked(_phrases(words), _any_of(words), k, scopes, within), hits, k)

    def _ranked(self, wanted: str, ranked: str, k: int, scopes: Sequence[str], within: Sequence[int] | None) -> list[Hit]:
        """Return the passages that match the tsquery `wanted`, ranked by the tsquery `ranked`."""
        limits = "AND id = ANY(%(within)s)" if within is not None else ""
        sql = f"""
            SELECT id, ts_rank_cd({WEIGHTS}, words, %(ranked)s::tsquery, 1) AS score FROM search_chunk
            WHERE words @@ %(wanted)s::tsquery AND scope = ANY(%(scopes)s) {limits} ORDER BY score DESC, id LIMIT %(k)s
        """  # noqa: S608 - constants; what comes from people are parameters
        values = {"wanted": wanted, "ranked": ranked, "scopes": list(scopes), "k": k}
        return [Hit(*row) for row in _rows(sql, values | {"within": None if within is None else list(within)})]


def _any_of(words: Terms) -> str:
    """Return a tsquery for any of the words. Tokens hold letters and digits only, and are quoted."""
    parts = [f"'{word}'" for word in words.words]
    parts += _phrase_list(words)
    parts += [f"'{words.prefix}':*AB"] if words.prefix else []
    parts += [f"'{word}':*D" for word in words.beginnings]
    return " | ".join(parts)


def _phrases(words: Terms) -> str:
    return " | ".join(_phrase_list(words))


def _phrase_list(words: Terms) -> list[str]:
    return ["(" + " <-> ".join(f"'{token}':AB" for token in phrase) + ")" for phrase in words.phrases]


def _text(vector: Matrix) -> str:
    return "[" + ",".join(map(repr, vector.tolist())) + "]"


def _run(sql: str, parameters: Any = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)


def _rows(sql: str, parameters: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())
