"""Nearest vectors: exact, filtered, many queries at once, and by one bit a dimension."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.patterns.embeddings import similarity
from webapp.patterns.embeddings.similarity import Hits, Mask, Matrix, SignIndex, from_bytes, joined, normalized, top_k, vector_of
from webapp.patterns.errors import EmbeddingError


def vectors(count: int, dimension: int = 32, seed: int = 1) -> Matrix:
    return normalized(np.random.default_rng(seed).normal(size=(count, dimension)))


def sorted_out(matrix: Matrix, query: Matrix, k: int, mask: Mask | None = None) -> list[int]:
    """The reference: sort all cosines; equal ones by row."""
    scores = (matrix @ query).tolist()
    rows = [row for row in range(len(matrix)) if mask is None or mask[row]]
    return sorted(rows, key=lambda row: (-scores[row], row))[:k]


# --- vectors


@given(st.integers(1, 8), st.integers(1, 8), st.floats(1e-10, 1e10))
def test_normalized_vectors_are_float32_of_length_one(count: int, dimension: int, scale: float) -> None:
    matrix = normalized((np.random.default_rng(3).random((count, dimension)) + 0.1) * scale)
    assert matrix.dtype == np.float32
    assert matrix.flags.c_contiguous
    assert np.allclose(np.linalg.norm(matrix, axis=1), 1, atol=1e-5)


def test_normalising_leaves_its_input_alone_unless_told() -> None:
    given_vectors = np.array([[3, 4]], dtype=np.float32)
    assert normalized(given_vectors).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]
    assert given_vectors.tolist() == [[3, 4]]
    assert normalized(given_vectors, copy=False) is given_vectors


@pytest.mark.parametrize(
    "bad", [[[1.0, float("nan")]], [[1.0], [float("inf")]], [[1.0, 0.0], [0.0, 0.0]], [[1.0], [1.0, 2.0]], [["x"]], [[None]]]
)
def test_what_is_no_vector_is_an_error(bad: Any) -> None:
    with pytest.raises(EmbeddingError):
        normalized(bad)


def test_vectors_are_read_in_every_dialect() -> None:
    numbers = [0.5, -1.0, 2.0]
    packed = base64.b64encode(np.array(numbers, dtype="<f4").tobytes()).decode()
    for dialect in (numbers, packed, [numbers], [[0.0, -2.0, 3.0], [1.0, 0.0, 1.0]], np.array(numbers)):
        assert vector_of(dialect).tolist() == numbers


@pytest.mark.parametrize(
    "bad", ["no base64!", base64.b64encode(b"abc").decode(), [], [[]], [[[1.0]]], None, {"a": 1}, ["x"], 3.0, [1.0, [2.0]], [10**400]]
)
def test_what_is_no_vector_in_any_dialect_is_an_error(bad: Any) -> None:
    with pytest.raises(EmbeddingError):
        vector_of(bad)


def test_vectors_kept_as_bytes_come_back() -> None:
    matrix = vectors(5)
    assert np.array_equal(from_bytes([row.tobytes() for row in matrix]), matrix)
    assert from_bytes([]).shape == joined([]).shape == (0, 0)
    with pytest.raises(EmbeddingError, match="different dimensions"):
        from_bytes([b"1234", b"12345678"])


# --- the nearest


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 300) | st.sampled_from([2_600, 5_000, 9_999]),
    st.integers(0, 30),
    st.sampled_from([None, 0.02, 0.2, 0.5, 1.0]),
    st.integers(0, 5),
)
def test_top_k_is_what_sorting_all_cosines_gives(count: int, k: int, share: float | None, seed: int) -> None:
    matrix, query = vectors(count, seed=seed), vectors(1, seed=99)[0]
    mask = None if share is None else np.random.default_rng(seed).random(count) < share
    hits = top_k(matrix, query, k, mask)
    assert hits.indices.tolist() == sorted_out(matrix, query, k, mask)
    assert np.allclose(hits.scores, (matrix @ query)[hits.indices], atol=1e-6)


def test_equal_scores_come_in_the_order_of_their_rows() -> None:
    matrix = normalized([[1.0, 0.0]] * 5)
    assert top_k(matrix, matrix[0], 5).indices.tolist() == [0, 1, 2, 3, 4]
    many = normalized([[1.0, 0.0]] * 5000)
    assert top_k(many, many[0], 5).scores.tolist() == [1.0] * 5


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.sampled_from([1, 50, 16_384, 40_000]), st.sampled_from([None, 0.001, 0.1, 0.6]))
def test_many_queries_give_what_each_gives_alone(queries: int, count: int, share: float | None) -> None:
    matrix, asked = vectors(count, 16), vectors(queries, 16, seed=7)
    mask = None if share is None else np.random.default_rng(5).random(count) < share
    several = top_k(matrix, asked, 10, mask)
    assert several.indices.shape == several.scores.shape
    for number, query in enumerate(asked):
        alone = top_k(matrix, query, 10, mask)
        assert several.indices[number].tolist() == alone.indices.tolist()
        assert np.allclose(several.scores[number], alone.scores, atol=1e-6)


def test_nothing_allowed_and_nothing_there_find_nothing() -> None:
    matrix = vectors(10)
    none = np.zeros(10, dtype=np.bool_)
    for hits in (top_k(matrix, matrix[0], 5, none), top_k(matrix[:0], matrix[0], 5), SignIndex(matrix).top_k(matrix[0], 5, none)):
        assert hits.indices.tolist() == hits.scores.tolist() == []
    assert top_k(matrix, matrix[:2], 5, none).indices.shape == (2, 0)
    assert SignIndex(matrix[:0]).top_k(matrix[0], 5).indices.size == 0


def test_a_query_from_another_model_is_an_error() -> None:
    matrix = vectors(10, 32)
    query = vectors(1, 16)[0]
    with pytest.raises(EmbeddingError, match="16 dimensions and the index 32"):
        top_k(matrix, query, 5)
    with pytest.raises(EmbeddingError, match="16 dimensions and the index 32"):
        SignIndex(matrix).top_k(query, 5)


# --- one bit a dimension


def recall(found: Hits, wanted: Hits) -> float:
    return len(set(found.indices.tolist()) & set(wanted.indices.tolist())) / len(wanted.indices)


def clustered(count: int, dimension: int = 96) -> Matrix:
    """Vectors in clouds, as embeddings of documents are."""
    random = np.random.default_rng(2)
    centers = random.normal(size=(200, dimension))
    return normalized(centers[random.integers(0, 200, count)] + random.normal(size=(count, dimension)) * 0.8)


@pytest.mark.parametrize("dimension", [96, 70])
def test_a_scan_of_signs_finds_nearly_all_and_scores_them_exactly(dimension: int) -> None:
    matrix = clustered(20_000, dimension)
    index = SignIndex(matrix)
    random = np.random.default_rng(3)
    recalls = []
    for row in random.integers(0, 20_000, 20):
        query = normalized(matrix[row] + random.normal(size=dimension).astype(np.float32) * 0.05)[0]
        found = index.top_k(query, 10)
        assert np.allclose(found.scores, (matrix @ query)[found.indices], atol=1e-6)
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        recalls.append(recall(found, top_k(matrix, query, 10)))
    assert sum(recalls) / 20 > 0.93


def test_a_scan_of_signs_obeys_the_filter() -> None:
    matrix = clustered(20_000)
    mask = np.random.default_rng(4).random(20_000) < 0.3
    found = SignIndex(matrix).top_k(matrix[5], 10, mask)
    assert mask[found.indices].all()
    assert recall(found, top_k(matrix, matrix[5], 10, mask)) > 0.8


def test_a_small_index_is_searched_exactly() -> None:
    matrix = vectors(1500)
    mask = np.arange(1500) % 2 == 0
    assert SignIndex(matrix).top_k(matrix[7], 10).indices.tolist() == sorted_out(matrix, matrix[7], 10)
    assert SignIndex(matrix).top_k(matrix[7], 10, mask).indices.tolist() == sorted_out(matrix, matrix[7], 10, mask)
    assert len(SignIndex(vectors(3000)).top_k(matrix[7], 1400).indices) == 1400


def test_vectors_that_are_all_alike_do_not_make_the_scan_slow_or_wrong() -> None:
    matrix = normalized(np.ones((20_000, 64), dtype=np.float32))
    matrix[777] = normalized([[1.0] * 32 + [2.0] * 32])
    query = matrix[777].copy()
    assert np.allclose(SignIndex(matrix).top_k(query, 5).scores[1:], matrix[0] @ query)
    assert len(SignIndex(matrix).top_k(query, 5).indices) == 5


def test_a_scan_over_many_blocks_counts_the_differing_signs_of_each_row() -> None:
    matrix = vectors(70_000, 40)
    wanted = ((matrix > 0) != (matrix[3] > 0)).sum(axis=1)
    assert np.array_equal(similarity._differing(similarity._signs(matrix), similarity._signs(matrix[3:4])[:, 0]), wanted)
