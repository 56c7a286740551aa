"""Compare the vector index with faiss, usearch, and sqlite-vec at equal recall: build time, memory, queries, and queries with a filter.

python -m bench vectors [--passages 100000]

Those of faiss-cpu, usearch, and sqlite-vec that are installed are measured. None is in the locks. The breadth of an approximate search is
doubled until its recall@10 is that of our index, or up to 512. The filter allows a tenth of the passages, at random.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.search import DIMENSION, clustered

QUERIES = 40
DEPTH = 10
ALLOWED = 0.1

Search = Callable[[Any], list[int]]


@dataclass(frozen=True, slots=True)
class Peer:
    """A built index: its searches without and with the filter (None if it has no filter), and its bytes in memory."""

    name: str
    search: Search
    filtered: Search | None
    size: int


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench vectors")
    parser.add_argument("--passages", type=int, default=100_000)
    count = parser.parse_args().passages
    matrix = clustered(count)
    queries = clustered(QUERIES + 20)[20:] + 0.02
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    allowed = np.random.default_rng(7).random(count) < ALLOWED
    exact = [_best(matrix @ query) for query in queries]
    exact_filtered = [_best(np.where(allowed, matrix @ query, -2)) for query in queries]
    print(f"{count:,} × {DIMENSION}: {'build s':>16}{'MB':>8}{'ms':>8}{'recall':>8}{'filtered ms':>13}{'recall':>8}")
    goal = 0.0
    for build in (_ours, _faiss_flat, _faiss_hnsw, _usearch, _sqlite_vec):
        began = time.perf_counter()
        peers = build(matrix, allowed)  # kept, as its end deletes the files
        built, recall = 0.0, -1.0
        for peer in peers:
            built = built or time.perf_counter() - began
            recall = _recall(peer.search, queries, exact)
            if recall >= goal - 0.002 or peer.name.startswith("ours"):
                break
        if recall < 0:
            continue
        goal = goal or recall
        line = f"{peer.name:26}{built:8.1f}{peer.size / 2**20:8.0f}{_milliseconds(peer.search, queries):8.2f}{recall:8.3f}"
        if peer.filtered:
            line += f"{_milliseconds(peer.filtered, queries):13.2f}{_recall(peer.filtered, queries, exact_filtered):8.3f}"
        print(line, flush=True)


def _best(scores: Any) -> set[int]:
    return set(np.argpartition(-scores, DEPTH)[:DEPTH].tolist())


def _recall(search: Search, queries: Any, exact: list[set[int]]) -> float:
    return sum(len(best & set(search(query))) for best, query in zip(exact, queries, strict=True)) / DEPTH / len(exact)


def _milliseconds(search: Search, queries: Any) -> float:
    taken = []
    for query in queries:
        began = time.perf_counter()
        search(query)
        taken.append((time.perf_counter() - began) * 1000)
    return median(taken)


def _ours(matrix: Any, allowed: Any) -> Iterator[Peer]:
    """Yield our index: a scan of mapped files, with signs from 50,000 rows on."""
    from search.index.vector_files import VectorFiles

    with tempfile.TemporaryDirectory() as folder:
        files = VectorFiles(Path(folder) / "bench", DIMENSION)
        files.write(0, range(1, len(matrix) + 1), matrix)
        files.nearest(len(matrix), matrix[0], DEPTH, None)
        signs = len(matrix) * DIMENSION // 8
        yield Peer(
            "ours (vectors mapped)",
            lambda query: files.nearest(len(matrix), query, DEPTH, None).indices.tolist(),
            lambda query: files.nearest(len(matrix), query, DEPTH, allowed).indices.tolist(),
            signs,
        )


def _faiss(index: Any, parameters: Any, query: Any) -> list[int]:
    found: list[int] = index.search(query[None], DEPTH, params=parameters)[1][0].tolist()
    return found


def _faiss_flat(matrix: Any, allowed: Any) -> Iterator[Peer]:
    """Yield faiss's exact index."""
    if importlib.util.find_spec("faiss"):
        import faiss

        faiss.omp_set_num_threads(1)
        index = faiss.IndexFlatIP(DIMENSION)
        index.add(matrix)
        within = faiss.SearchParameters(sel=faiss.IDSelectorBatch(np.flatnonzero(allowed)))
        yield Peer(
            "faiss flat",
            partial(_faiss, index, None),
            partial(_faiss, index, within),
            matrix.nbytes,
        )


def _faiss_hnsw(matrix: Any, allowed: Any) -> Iterator[Peer]:
    """Yield faiss's graph with ever broader searches."""
    if importlib.util.find_spec("faiss"):
        import faiss

        index = faiss.IndexHNSWFlat(DIMENSION, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = 80
        index.add(matrix)
        selector = faiss.IDSelectorBatch(np.flatnonzero(allowed))
        size = len(faiss.serialize_index(index))
        for breadth in (16, 32, 64, 128, 256, 512):
            plain = faiss.SearchParametersHNSW(efSearch=breadth)
            within = faiss.SearchParametersHNSW(efSearch=breadth, sel=selector)
            yield Peer(
                f"faiss HNSW, breadth {breadth}",
                partial(_faiss, index, plain),
                partial(_faiss, index, within),
                size,
            )


def _usearch(matrix: Any, _allowed: Any) -> Iterator[Peer]:
    """Yield usearch's graph with ever broader searches. It has no filter."""
    if importlib.util.find_spec("usearch"):
        index = importlib.import_module("usearch.index").Index(ndim=DIMENSION, metric="ip", dtype="f32", connectivity=32, expansion_add=80)
        index.add(np.arange(len(matrix)), matrix, threads=1)
        for breadth in (16, 32, 64, 128, 256, 512):
            index.expansion_search = breadth
            search = lambda query: index.search(query, DEPTH).keys.tolist()  # noqa: E731 - one index, searched with the present breadth
            yield Peer(f"usearch, breadth {breadth}", search, None, index.memory_usage)


def _sqlite_vec(matrix: Any, allowed: Any) -> Iterator[Peer]:
    """Yield sqlite-vec's exact scan, with the filter as a metadata column, if this Python may load extensions of SQLite."""
    import sqlite3

    if importlib.util.find_spec("sqlite_vec") and hasattr(sqlite3.Connection, "enable_load_extension"):
        database = sqlite3.connect(":memory:")
        database.enable_load_extension(True)  # noqa: FBT003 - the only form
        importlib.import_module("sqlite_vec").load(database)
        database.execute(f"CREATE VIRTUAL TABLE v USING vec0(e float[{DIMENSION}] distance_metric=cosine, kept boolean)")
        rows = ((number, vector.tobytes(), bool(kept)) for number, (vector, kept) in enumerate(zip(matrix, allowed, strict=True)))
        database.executemany("INSERT INTO v(rowid, e, kept) VALUES (?, ?, ?)", rows)

        def search(query: Any, limits: str = "") -> list[int]:
            sql = f"SELECT rowid FROM v WHERE e MATCH ? AND k = {DEPTH} {limits} ORDER BY distance"
            return [number for (number,) in database.execute(sql, [query.astype(np.float32).tobytes()])]

        pages = database.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size").fetchone()[0]
        yield Peer("sqlite-vec", search, lambda query: search(query, "AND kept = true"), pages)


if __name__ == "__main__":
    main()
