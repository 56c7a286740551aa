"""Nearest vectors."""

from __future__ import annotations

import numpy as np

from webapp.patterns.similarity import SignIndex, normalised, top_k


def test_top_k_is_what_sorting_all_cosines_gives() -> None:
    random = np.random.default_rng(1)
    matrix = normalised(random.normal(size=(20_000, 64)))
    queries = normalised(random.normal(size=(3, 64)))
    mask = random.random(20_000) < 0.1
    for query in queries:
        scores = matrix @ query
        assert top_k(matrix, query, 10).indices.tolist() == np.argsort(-scores)[:10].tolist()
        allowed = np.where(mask, scores, -9)
        assert top_k(matrix, query, 10, mask).indices.tolist() == np.argsort(-allowed)[:10].tolist()
        assert top_k(matrix, query, 10, ~mask).indices.tolist() == np.argsort(-np.where(mask, -9, scores))[:10].tolist()
    several = top_k(matrix, queries, 10)
    assert several.indices.tolist() == [top_k(matrix, query, 10).indices.tolist() for query in queries]
    found = SignIndex(matrix).top_k(queries[0], 10, candidates=4000).indices.tolist()
    assert len(set(found) & set(top_k(matrix, queries[0], 10).indices.tolist())) >= 8
