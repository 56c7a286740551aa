"""Compare exact vector search with a bare float32 matrix-vector product, which runs at the speed of memory.

python -m bench similarity [rows]
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np

from webapp.patterns.embeddings.similarity import SignIndex, normalized, top_k

DIMENSION = 384


def milliseconds(*ways: Callable[[], object], times: int = 25) -> list[float]:
    """Return the median of each function in ms, measured alternately."""
    taken: list[list[float]] = [[] for _ in ways]
    for _ in range(times):
        for way, mine in zip(ways, taken, strict=True):
            began = time.perf_counter()
            way()
            mine.append((time.perf_counter() - began) * 1000)
    return [median(mine) for mine in taken]


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    chance = np.random.default_rng(1)
    centers = chance.normal(size=(2000, DIMENSION)).astype(np.float32)
    noise = chance.normal(size=(rows, DIMENSION)).astype(np.float32)
    matrix = normalized(centers[chance.integers(0, 2000, rows)] + noise, copy=False)
    queries = normalized(matrix[:64] + 0.05 * chance.normal(size=(64, DIMENSION)).astype(np.float32))
    query, index = queries[0], SignIndex(matrix)
    few, most = chance.random(rows) < 0.1, chance.random(rows) < 0.9
    floor, exact, signs, filtered, filtered_most = milliseconds(
        lambda: matrix @ query,
        lambda: top_k(matrix, query, 10),
        lambda: index.top_k(query, 10),
        lambda: top_k(matrix, query, 10, few),
        lambda: top_k(matrix, query, 10, most),
    )
    floor_of_many, many = milliseconds(lambda: matrix @ queries.T, lambda: top_k(matrix, queries, 10), times=5)
    found = [len({*index.top_k(one, 10).indices.tolist()} & {*top_k(matrix, one, 10).indices.tolist()}) / 10 for one in queries]
    print(f"top 10 of {rows:,} x {DIMENSION}: {exact:.1f} ms, {exact / floor:.2f}x the floor of {floor:.1f} ms (goal: 1.5x)")
    print(f"  of a tenth of the rows {filtered / floor:.2f}x, of nine tenths {filtered_most / floor:.2f}x")
    print(f"  by a scan of signs {signs:.1f} ms, {signs / floor:.2f}x, recall {sum(found) / len(found):.3f}")
    print(f"  64 queries at once: {many / 64:.1f} ms each, {many / floor_of_many:.2f}x the bare product")


if __name__ == "__main__":
    main()
