"""The engine without a database server: vectors in mapped files (`search.index.files`), words in SQLite's FTS5."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from search.index.base import FilesDamaged, Hit, Terms
from search.models import Index
from webapp.patterns.errors import EmbeddingError

if TYPE_CHECKING:
    from search.index.files import VectorFiles
    from webapp.patterns.similarity import Matrix

logger = logging.getLogger("patchbay.search")
COMPACT_FROM = 1000
HEADING_WEIGHT, TEXT_WEIGHT = 2.0, 1.0


def folder() -> Path:
    """Where the vectors are."""
    return Path(settings.PATCHBAY_HOME) / "vectors"


class EmbeddedEngine:
    """See `search.index.base.Engine`."""

    def __init__(self) -> None:
        self._files: dict[int, tuple[Path, VectorFiles]] = {}
        self._lock = threading.Lock()

    def add(self, index: Index, ids: Sequence[int], vectors: Matrix) -> None:
        with self._locked(index) as fresh:
            dimension = fresh.dimension or vectors.shape[1]
            if vectors.shape[1] != dimension:
                raise EmbeddingError(f"The vectors have {vectors.shape[1]} dimensions and the index {dimension}")
            fresh.dimension = dimension
            self._of(fresh).write(fresh.rows, ids, vectors)
            fresh.rows += len(ids)
            fresh.save(update_fields=["rows", "dimension"])
        index.rows, index.dimension = fresh.rows, fresh.dimension

    def remove(self, index: Index, ids: Sequence[int]) -> None:
        with self._locked(index) as fresh:
            if not fresh.rows:
                return
            erased = self._of(fresh).erase(fresh.rows, ids)
            Index.objects.filter(pk=fresh.pk).update(dead=F("dead") + erased)
            fresh.dead += erased
            if fresh.dead > COMPACT_FROM and fresh.dead * 2 > fresh.rows:
                self._compact(fresh)

    def _compact(self, index: Index) -> None:
        """Write the living rows anew beside the old files, and change over when the transaction commits."""
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
        """The row as it is now, while nobody else writes to its files."""
        with transaction.atomic():
            yield Index.objects.select_for_update().get(pk=index.pk)

    def drop(self, index: Index) -> None:
        if index.dimension:
            self._of(index).delete()
        with self._lock:
            self._files.pop(index.pk, None)

    def _of(self, index: Index) -> VectorFiles:
        from search.index.files import VectorFiles

        assert index.dimension, "an index has a dimension before it has files"
        path = folder() / f"{index.pk}-{index.generation}"
        with self._lock:
            known, files = self._files.get(index.pk, (None, None))
            if files is None or known != path:
                files = VectorFiles(path, index.dimension)
                self._files[index.pk] = (path, files)
            return files

    def check(self, index: Index) -> None:
        with self._locked(index) as fresh:
            try:
                if fresh.rows:
                    self._of(fresh).matrix(fresh.rows)
            except (FilesDamaged, OSError):
                logger.warning("the vectors of index %s are lost: it is built again", fresh.pk)
                fresh.rows, fresh.dead, fresh.generation = 0, 0, fresh.generation + 1
                fresh.save(update_fields=["rows", "dead", "generation"])
        index.refresh_from_db(fields=["rows", "dead", "generation"])

    def ids(self, index: Index) -> set[int]:
        return set(self._of(index).ids(index.rows).tolist()) - {0} if index.rows else set()

    def vectors(self, index: Index, ids: Sequence[int]) -> dict[int, Matrix]:
        import numpy as np

        if not index.rows:
            return {}
        files = self._of(index)
        numbers = files.ids(index.rows)
        rows = np.flatnonzero(np.isin(numbers, np.array(ids, np.int64)))
        return dict(zip(numbers[rows].tolist(), files.matrix(index.rows)[rows], strict=True))

    def nearest(self, index: Index, query: Matrix, k: int, *, within: Sequence[int] | None = None) -> list[Hit]:
        import numpy as np

        if not index.rows:
            return []
        files = self._of(index)
        ids = files.ids(index.rows)
        mask = None if within is None else np.isin(ids, np.array(within, np.int64))
        hits = files.nearest(index.rows, query, k, mask)
        found = zip(ids[hits.indices].tolist(), hits.scores.tolist(), strict=True)
        return [Hit(chunk_id, score) for chunk_id, score in found if chunk_id]

    def matching(self, words: Terms, k: int, *, scopes: Sequence[str], within: Sequence[int] | None = None) -> list[Hit]:
        if not words or not scopes:
            return []
        limits = "AND rowid IN (SELECT value FROM json_each(%s))" if within is not None else ""
        sql = f"""
            SELECT rowid, -bm25(search_fulltext, {HEADING_WEIGHT}, {TEXT_WEIGHT}, 0.0) AS score FROM search_fulltext
            WHERE search_fulltext MATCH %s {limits} ORDER BY score DESC, rowid LIMIT %s
        """  # noqa: S608 - constants; what comes from people are parameters
        wanted = [] if within is None else [f"[{','.join(map(str, within))}]"]
        with connection.cursor() as cursor:
            cursor.execute(sql, [_expression(words, scopes), *wanted, k])
            return [Hit(*row) for row in cursor.fetchall()]


def _expression(words: Terms, scopes: Sequence[str]) -> str:
    """FTS5's syntax: each word quoted, so that nothing a person writes is an operator."""
    anything = [f'"{word}"' for word in words.words]
    anything += [f'"{" ".join(phrase)}"' for phrase in words.phrases]
    anything += [f'"{words.prefix}"*'] if words.prefix else []
    allowed = " OR ".join(f'"{scope}"' for scope in scopes)
    return f"{{heading text}} : ({' OR '.join(anything)}) AND scope : ({allowed})"
