"""Store vectors in two mapped files, one of float32 rows and one of passage ids; rows are appended, never rewritten.

The database holds the number of valid rows (`Index.rows`). A row is written and synced first, and counted in the transaction that makes it
visible. So a crash leaves at most uncounted rows, which the next write overwrites. A deleted row is zeroed in the file, and so in every
process that maps it: it can no longer be found and leaves no trace. Many readers, one writer at a time (the caller's lock).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.index.base import FilesDamaged
from webapp.patterns.embeddings.similarity import Hits, Mask, Matrix, SignIndex, top_k

Ids = NDArray[np.int64]

GROW_ROWS = 4096
SIGNS_FROM = 50_000
"""Rows from which the exact scan takes more than about 5 ms. From there on signs are scanned first."""
SIGN_SHARE = 12
"""One in this many rows is scored exactly after the scan of signs: recall@10 is 0.99 at 100,000 and at 1,000,000 rows (`bench search`)."""
TAIL = 8192
"""Rows that may be added before the signs are recomputed. Until then they are scanned exactly."""


@dataclass(frozen=True, slots=True)
class _Mapped:
    """The mapped files. `seen` holds their inodes and sizes at that time."""

    ids: Ids
    vectors: Matrix
    seen: tuple[int, ...]


class VectorFiles:
    """The files of one index generation: `path` with two suffixes. Opened on first use, and mapped again after growth."""

    def __init__(self, path: Path, dimension: int) -> None:
        self.dimension = dimension
        self._ids_path = path.with_suffix(".ids")
        self._vectors_path = path.with_suffix(".f32")
        self._mapped: _Mapped | None = None
        self._signs: SignIndex | None = None
        self._lock = threading.Lock()

    def write(self, start: int, ids: Sequence[int], vectors: Matrix) -> None:
        """Write rows from `start` on, and wait until they are on disk."""
        self._ids_path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._write(self._vectors_path, start * self.dimension * 4, np.ascontiguousarray(vectors, "<f4").tobytes(), self.dimension * 4)
        self._write(self._ids_path, start * 8, np.array(ids, "<i8").tobytes(), 8)

    @staticmethod
    def _write(path: Path, offset: int, raw: bytes, row_bytes: int) -> None:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            needed = offset + len(raw)
            if os.fstat(handle).st_size < needed:
                step = GROW_ROWS * row_bytes
                os.ftruncate(handle, -(-needed // step) * step)
            written = 0
            while written < len(raw):
                written += os.pwrite(handle, raw[written:], offset + written)
            os.fsync(handle)
        finally:
            os.close(handle)

    def ids(self, rows: int) -> Ids:
        """Return the passage of each row; 0 for a deleted one."""
        return self._map(rows).ids[:rows]

    def matrix(self, rows: int) -> Matrix:
        """Return the vectors, mapped without a copy."""
        return self._map(rows).vectors[:rows]

    def _map(self, rows: int) -> _Mapped:
        """Map the present files: reading behind the end of a truncated file would kill the process."""
        mapped, seen = self._mapped, self._seen()
        if mapped is None or mapped.seen != seen:
            with self._lock:
                if mapped and mapped.seen[::2] != seen[::2]:
                    self._signs = None  # of other files
                mapped = self._mapped = self._open(seen)
        if len(mapped.ids) < rows:
            raise FilesDamaged(f"{self._vectors_path.name} holds fewer rows than the database counts")
        return mapped

    def _seen(self) -> tuple[int, ...]:
        try:
            ids, vectors = self._ids_path.stat(), self._vectors_path.stat()
        except FileNotFoundError as error:
            raise FilesDamaged(f"{error.filename} is gone") from error
        return ids.st_ino, ids.st_size, vectors.st_ino, vectors.st_size

    def _open(self, seen: tuple[int, ...]) -> _Mapped:
        whole = min(seen[1] // 8, seen[3] // (4 * self.dimension))
        if not whole:
            raise FilesDamaged(f"{self._vectors_path.name} is empty")
        try:
            # as plain arrays over the mapping: numpy's memmap class adds microseconds to each slice
            ids = np.asarray(np.memmap(self._ids_path, "<i8", mode="r", shape=(whole,)))
            vectors = np.asarray(np.memmap(self._vectors_path, "<f4", mode="r", shape=(whole, self.dimension)))
        except (FileNotFoundError, ValueError) as error:
            raise FilesDamaged(f"{self._vectors_path.name} changed while it was opened") from error
        return _Mapped(ids, vectors, seen)

    def erase(self, rows: int, ids: Sequence[int]) -> int:
        """Zero the rows of these passages; return their number."""
        found = np.flatnonzero(np.isin(self.ids(rows), np.array(ids, np.int64)))
        zeros = bytes(self.dimension * 4)
        with self._vectors_path.open("r+b") as vectors, self._ids_path.open("r+b") as numbers:
            for row in found:
                os.pwrite(numbers.fileno(), bytes(8), int(row) * 8)
                os.pwrite(vectors.fileno(), zeros, int(row) * len(zeros))
        return len(found)

    def nearest(self, rows: int, query: Matrix, k: int, mask: Mask | None) -> Hits:
        """Return row numbers and cosines: exact, or from `SIGNS_FROM` rows on by signs and then exactly."""
        matrix = self.matrix(rows)
        if rows < SIGNS_FROM:
            return top_k(matrix, query, k, mask)
        signs = self._signed(matrix)
        known = len(signs.matrix)
        hits = signs.top_k(query, k, None if mask is None else mask[:known], candidates=known // SIGN_SHARE)
        if known == rows:
            return hits
        tail = top_k(matrix[known:], query, k, None if mask is None else mask[known:])
        indices = np.concatenate([hits.indices, tail.indices + known])
        scores = np.concatenate([hits.scores, tail.scores])
        order = np.argsort(-scores, kind="stable")[:k]
        return Hits(indices[order], scores[order])

    def _signed(self, matrix: Matrix) -> SignIndex:
        signs = self._signs
        if signs is None or len(matrix) - len(signs.matrix) > TAIL:
            with self._lock:
                signs = self._signs = SignIndex(matrix)
        return signs

    def delete(self) -> None:
        """Remove the files."""
        for path in (self._ids_path, self._vectors_path):
            path.unlink(missing_ok=True)
