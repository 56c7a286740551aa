"""Describe stores, files, and batches in OpenAI's schema."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, QuerySet, Sum

from search.chunking import TARGET_TOKENS
from search.models import Collection, Document, FileBatch
from search.vector_stores.lookup import STATES, STORE_PREFIX
from webapp.patterns.types import Json

STATUS = {state: status for status, states in STATES.items() for state in states}
"""The status of a file by the state of its document."""


@dataclass(slots=True)
class Counts:
    """The files of a store or a batch by their status, and the bytes of the completed ones."""

    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    bytes: int = 0

    def as_json(self) -> Json:
        """Return the `file_counts`."""
        total = self.in_progress + self.completed + self.failed + self.cancelled
        return {
            "in_progress": self.in_progress,
            "completed": self.completed,
            "failed": self.failed,
            "cancelled": self.cancelled,
            "total": total,
        }


def count_files(documents: QuerySet[Document]) -> Counts:
    """Count documents by status. Those that are being deleted do not count."""
    return _counted(documents.order_by().values_list("state").annotate(Count("pk"), Sum("size")))


def count_stores(stores: Iterable[Collection]) -> dict[int, Counts]:
    """Count the files of each store, with one query for all."""
    keys = [store.pk for store in stores]
    found: dict[int, list[tuple[str, int, int]]] = {key: [] for key in keys}
    rows = Document.objects.filter(collection__in=keys).order_by().values_list("collection", "state")
    for key, state, count, size in rows.annotate(Count("pk"), Sum("size")):
        found[key].append((state, count, size))
    return {key: _counted(rows) for key, rows in found.items()}


def _counted(rows: Iterable[tuple[str, int, int]]) -> Counts:
    counts = Counts()
    for state, count, size in rows:
        if state == Document.State.DELETING:
            continue
        status = STATUS[Document.State(state)]
        setattr(counts, status, getattr(counts, status) + count)
        counts.bytes += size if state == Document.State.READY else 0
    return counts


def store_object(store: Collection, counts: Counts) -> Json:
    """Return a collection as a `vector_store`."""
    status = "in_progress" if counts.in_progress else "completed"
    expires_at = store.expires_at
    return {
        "id": f"{STORE_PREFIX}{store.pk}",
        "object": "vector_store",
        "created_at": _unix(store.created_at),
        "name": store.name if store.api_name is None else store.api_name,
        "description": store.description or None,
        "usage_bytes": counts.bytes,
        "file_counts": counts.as_json(),
        "status": "expired" if store.is_expired else status,
        "expires_after": {"anchor": "last_active_at", "days": store.expires_after_days} if store.expires_after_days else None,
        "expires_at": _unix(expires_at) if expires_at else None,
        "last_active_at": _unix(store.last_active_at or store.created_at),
        "metadata": store.metadata,
    }


def file_object(document: Document) -> Json:
    """Return a document as a `vector_store.file`."""
    failed = document.state == Document.State.FAILED
    return {
        "id": document.api_id,
        "object": "vector_store.file",
        "created_at": _unix(document.created_at),
        "vector_store_id": f"{STORE_PREFIX}{document.collection_id}",
        "status": STATUS[Document.State(document.state)],
        "last_error": {"code": document.failure or Document.Failure.INVALID.value, "message": document.why} if failed else None,
        "usage_bytes": document.size if document.state == Document.State.READY else 0,
        "attributes": document.attributes,
        "chunking_strategy": {
            "type": "static",
            "static": {
                "max_chunk_size_tokens": document.passage_tokens or TARGET_TOKENS,
                "chunk_overlap_tokens": document.overlap_tokens,
            },
        },
    }


def batch_object(batch: FileBatch, counts: Counts) -> Json:
    """Return a `vector_store.files_batch`."""
    status = "cancelled" if batch.is_cancelled else "in_progress" if counts.in_progress else "completed"
    return {
        "id": batch.api_id,
        "object": "vector_store.files_batch",
        "created_at": _unix(batch.created_at),
        "vector_store_id": f"{STORE_PREFIX}{batch.collection_id}",
        "status": status,
        "file_counts": counts.as_json(),
    }


def _unix(moment: datetime) -> int:
    return int(moment.timestamp())
