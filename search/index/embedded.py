"""Implement the engine without a database server: vectors in mapped files (`search.index.vector_files`), words in SQLite's FTS5."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q

from search import worker_events
from search.index.base import NO_SAMPLE, SAMPLE, FilesDamaged, Hit, Terms, exact_first
from search.models import Collection, Index
from webapp.patterns.errors import EmbeddingError

if TYPE_CHECKING:
    from search.index.vector_files import VectorFiles
    from webapp.patterns.embeddings.similarity import Matrix

logger = logging.getLogger("patchbay.search")
T = TypeVar("T")
COMPACT_FROM = 1000
MAX_OPEN = 200
"""Indexes whose files stay mapped. Each takes two file descriptors, and every chat with documents has an index."""
HEADING_WEIGHT, TEXT_WEIGHT, PARTS_WEIGHT = 2.0, 1.0, 0.3
NOTHING = '""'


def folder() -> Path:
    """Return the folder of the vectors."""
    return Path(settings.PATCHBAY_HOME) / "vectors"


class EmbeddedEngine:
    """See `search.index.base.Engine`."""

    def __init__(self) -> None:
        self._files: OrderedDict[int, tuple[Path, VectorFiles]] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, index: Index, ids: Sequence[int], vectors: Matrix) -> None:
        """Append vectors of shape (n, dimension). Raise `EmbeddingError` when the dimension is not the index's."""
        with self._locked(index) as fresh:
            self._mend(fresh)
            dimension = fresh.dimension or vectors.shape[1]
            if vectors.shape[1] != dimension:
                raise EmbeddingError(f"The vectors have {vectors.shape[1]} dimensions and the index {dimension}")
            fresh.dimension = dimension
            self._of(fresh).write(fresh.rows, ids, vectors)
            fresh.rows += len(ids)
            fresh.save(update_fields=["rows", "dimension"])
        index.rows, index.dimension = fresh.rows, fresh.dimension

    def remove(self, index: Index, ids: Sequence[int]) -> None:
        """Mark the vectors of these passages as deleted."""
        with self._locked(index) as fresh:
            self._mend(fresh)
            if not fresh.rows:
                return
            erased = self._of(fresh).erase(fresh.rows, ids)
            Index.objects.filter(pk=fresh.pk).update(dead=F("dead") + erased)
            fresh.dead += erased
            if fresh.dead > COMPACT_FROM and fresh.dead * 2 > fresh.rows:
                self._compact(fresh)

    def _compact(self, index: Index) -> None:
        """Write the live rows to new files, and switch to them when the transaction commits."""
        import numpy as np

        old = self._of(index)
        living = np.flatnonzero(old.ids(index.rows))
        ids, vectors = old.ids(index.rows)[living], old.matrix(index.rows)[living]
        index.generation, index.rows, index.dead = index.generation + 1, len(living), 0
        self._of(index).delete()  # of a change-over that never committed
        if len(living):
            self._of(index).write(0, ids.tolist(), vectors)
        index.save(update_fields=["generation", "rows", "dead"])
        transaction.on_commit(old.delete)

    @contextmanager
    def _locked(self, index: Index) -> Iterator[Index]:
        """Return the present row, while no other process writes to its files."""
        with transaction.atomic():
            yield Index.objects.select_for_update().get(pk=index.pk)

    def drop(self, index: Index) -> None:
        """Delete the files of an index."""
        if index.dimension:
            self._of(index).delete()
        with self._lock:
            self._files.pop(index.pk, None)

    def _of(self, index: Index) -> VectorFiles:
        from search.index.vector_files import VectorFiles

        assert index.dimension, "an index has a dimension before it has files"
        path = folder() / f"{index.pk}-{index.generation}"
        with self._lock:
            known, files = self._files.get(index.pk, (None, None))
            if files is None or known != path:
                files = VectorFiles(path, index.dimension)
                self._files[index.pk] = (path, files)
            self._files.move_to_end(index.pk)
            while len(self._files) > MAX_OPEN:
                self._files.popitem(last=False)
            return files

    def check(self, index: Index) -> None:
        """Repair the files of an index after a crash."""
        with self._locked(index) as fresh:
            self._mend(fresh)
        index.refresh_from_db(fields=["rows", "dead", "generation", "dimension", "state", "why"])

    def _mend(self, fresh: Index) -> None:
        """Mark a locked index with missing or torn files as empty. The worker refills it if it serves or was being built."""
        if not fresh.rows:
            return
        old = self._of(fresh)
        try:
            old.matrix(fresh.rows)
        except FilesDamaged as damage:
            logger.warning("the vectors of index %s are lost (%s)", fresh.pk, damage)
            fresh.rows, fresh.dead, fresh.generation = 0, 0, fresh.generation + 1
            if Collection.objects.filter(Q(serving=fresh.pk) | Q(companion=fresh.pk)).exists():
                fresh.state = Index.State.BUILDING
            elif fresh.state == Index.State.READY:
                fresh.state, fresh.why = Index.State.FAILED, "Its vectors were lost"
            fresh.save(update_fields=["rows", "dead", "generation", "state", "why"])
            transaction.on_commit(old.delete)
            transaction.on_commit(worker_events.wake)

    def _read(self, index: Index, reading: Callable[[VectorFiles], T], nothing: T) -> T:
        """Return the result of reading the index's files, or `nothing` without rows.

        The files may have been rewritten since the caller fetched the row, or be lost. The row then says what is valid now.
        """
        for _ in range(2):
            if not index.rows:
                break
            try:
                return reading(self._of(index))
            except FilesDamaged:
                try:
                    self.check(index)
                except Index.DoesNotExist:  # dropped meanwhile
                    break
        return nothing

    def ids(self, index: Index) -> set[int]:
        """Return the ids of the passages that have a vector."""
        return self._read(index, lambda files: set(files.ids(index.rows).tolist()) - {0}, set())

    def count(self, index: Index) -> int:
        """Return the number of passages that have a vector."""
        import numpy as np

        return self._read(index, lambda files: int(np.count_nonzero(files.ids(index.rows))), 0)

    def vectors(self, index: Index, ids: Sequence[int]) -> dict[int, Matrix]:
        """Return the vectors of these passages, each of shape (dimension,)."""
        import numpy as np

        def reading(files: VectorFiles) -> dict[int, Matrix]:
            numbers = files.ids(index.rows)
            rows = np.flatnonzero(np.isin(numbers, np.array(ids, np.int64)))
            return dict(zip(numbers[rows].tolist(), files.matrix(index.rows)[rows], strict=True))

        return self._read(index, reading, {})

    def background(self, index: Index, query: Matrix) -> tuple[float, float, int]:
        """See `Engine`. The sample is every n-th row."""
        import numpy as np

        def reading(files: VectorFiles) -> tuple[float, float, int]:
            step = max(1, index.rows // SAMPLE)
            rows = np.flatnonzero(files.ids(index.rows)[::step]) * step
            cosines = files.matrix(index.rows)[rows] @ query
            return (float(cosines.mean()), float(cosines.std()), len(rows)) if len(rows) else NO_SAMPLE

        return self._read(index, reading, NO_SAMPLE)

    def nearest(self, index: Index, query: Matrix, k: int, *, within: Sequence[int] | None = None) -> list[Hit]:
        """Return the k passages with the highest cosine similarity, best first."""
        import numpy as np

        def reading(files: VectorFiles) -> list[Hit]:
            ids = files.ids(index.rows)
            mask = None if within is None else np.isin(ids, np.array(within, np.int64))
            hits = files.nearest(index.rows, query, k, mask)
            found = zip(ids[hits.indices].tolist(), hits.scores.tolist(), strict=True)
            return [Hit(chunk_id, score) for chunk_id, score in found if chunk_id]

        return self._read(index, reading, [])

    def matching(self, words: Terms, k: int, *, scopes: Sequence[str], within: Sequence[int] | None = None) -> list[Hit]:
        """Return the k passages that match the words best by BM25, best first."""
        if not words or not scopes:
            return []
        hits = self._ranked(_expression(words, scopes), k, within)
        if not words.phrases:
            return hits
        return exact_first(self._ranked(_phrases(words, scopes), k, within), hits, k)

    def _ranked(self, expression: str, k: int, within: Sequence[int] | None) -> list[Hit]:
        # the plus keeps SQLite from running the full-text query again for each of the rows
        limits = "AND +rowid IN (SELECT value FROM json_each(%s))" if within is not None else ""
        sql = f"""
            SELECT rowid, -bm25(search_fulltext, {HEADING_WEIGHT}, {TEXT_WEIGHT}, {PARTS_WEIGHT}, 0.0) AS score FROM search_fulltext
            WHERE search_fulltext MATCH %s {limits} ORDER BY score DESC, rowid LIMIT %s
        """  # noqa: S608 - constants; what comes from people are parameters
        wanted = [] if within is None else [f"[{','.join(map(str, within))}]"]
        with connection.cursor() as cursor:
            cursor.execute(sql, [expression, *wanted, k])
            return [Hit(*row) for row in cursor.fetchall()]


def _expression(words: Terms, scopes: Sequence[str]) -> str:
    """Return FTS5's syntax for any of the words. Each is quoted, so that no operator comes from a person."""
    anything = [*_quoted(words.words), *_phrase_list(words), *(f'"{words.prefix}"*' for _ in words.prefix[:1])]
    parts = [*_quoted(words.words), *(f'"{word}"*' for word in words.beginnings)]
    either = f"({{heading_words text_words}} : ({' OR '.join(anything)}) OR word_parts : ({' OR '.join(parts) or NOTHING}))"
    return f"{either} AND {_allowed(scopes)}"


def _phrases(words: Terms, scopes: Sequence[str]) -> str:
    """Return FTS5's syntax for any of the phrases, ranked by the words that stand beside them, too."""
    phrases = f"{{heading_words text_words}} : ({' OR '.join(_phrase_list(words))})"
    return f"({phrases}) AND ({_expression(words, scopes)})"


def _quoted(words: Sequence[str]) -> list[str]:
    return [f'"{word}"' for word in words]


def _phrase_list(words: Terms) -> list[str]:
    return [f'"{" ".join(phrase)}"' for phrase in words.phrases]


def _allowed(scopes: Sequence[str]) -> str:
    return f"scope : ({' OR '.join(_quoted(scopes))})"
