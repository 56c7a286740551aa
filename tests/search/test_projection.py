"""The map of a collection."""

from __future__ import annotations

import time

import numpy as np

from search.ranking import projection


def test_vectors_of_thousands_of_dimensions_are_drawn_at_once_along_what_sets_them_apart() -> None:
    random = np.random.default_rng(1)
    along = random.standard_normal((300, 2)) * (40, 20)
    vectors = along @ np.linalg.qr(random.standard_normal((4096, 2)))[0].T + random.standard_normal((300, 4096)) * 0.1
    began = time.monotonic()
    places = np.array(projection._plane(list(vectors)))
    assert time.monotonic() - began < 5
    assert abs(np.corrcoef(places.T, along.T))[:2, 2:].diagonal().min() > 0.99
