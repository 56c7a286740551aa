"""Add missing vectors to an index: of a new document, or of a whole collection after a change of its model.

Each batch is stored as it arrives, so after a crash only missing passages are embedded. Equal passages are embedded once per model.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from django.db import transaction
from django.db.models import Min, Q

from search import embedder, worker_events
from search.index import engine
from search.models import Chunk, Collection, Document, Index
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.errors import EmbeddingError

if TYPE_CHECKING:
    from webapp.patterns.embeddings.similarity import Matrix

BATCH = 128

Progress = Callable[[int], Awaitable[None]]


async def fill(index: Index, chunk_ids: Sequence[int], *, user: User, progress: Progress) -> None:
    """Add these passages to the index in batches. `progress` gets the number of finished passages of each batch.

    Raises:
        EmbeddingError, BackendError, ChainError: nothing of the failed batch was added.
    """
    for start in range(0, len(chunk_ids), BATCH):
        ids = chunk_ids[start : start + BATCH]
        await _fill_batch(index, ids, user)
        await progress(len(ids))


async def _fill_batch(index: Index, ids: Sequence[int], user: User) -> None:
    chunks, known = await in_database(_known, index, ids)
    missing = list({chunk.digest: chunk for chunk in chunks if chunk.digest not in known}.values())
    if missing:
        texts = [chunk.embedded_text for chunk in missing]
        matrix = await embedder.embed_passages(texts, index, user=user)
        known.update({chunk.digest: vector for chunk, vector in zip(missing, matrix, strict=True)})
    await in_database(_keep, index, chunks, known)


def _known(index: Index, ids: Sequence[int]) -> tuple[list[Chunk], dict[str, Matrix]]:
    """Return the existing passages, and the vectors that any index of the same model has for them, by digest."""
    chunks = list(Chunk.objects.filter(pk__in=ids).order_by("pk"))
    known: dict[str, Matrix] = {}
    if index.answered_by:
        # of the thousands that may be equal, the oldest of each collection
        equal = Chunk.objects.filter(digest__in={chunk.digest for chunk in chunks}).exclude(pk__in=ids).order_by()
        twins: dict[int, dict[int, str]] = defaultdict(dict)
        for digest, collection, oldest in equal.values_list("digest", "collection").annotate(Min("pk")):
            twins[collection][oldest] = digest
        same = Index.objects.filter(answered_by=index.answered_by, dimension=index.dimension, passage_prompt=index.passage_prompt)
        for other in same.filter(collection__in=twins):
            its = twins[other.collection_id]
            known |= {its[pk]: vector for pk, vector in engine().vectors(other, list(its)).items()}
    return chunks, known


def _keep(index: Index, chunks: Sequence[Chunk], vectors: dict[str, Matrix]) -> None:
    """Add the passages that still exist and are missing: another worker may have deleted or embedded the document meanwhile."""
    import numpy as np

    with transaction.atomic():
        locked = Index.objects.select_for_update().filter(pk=index.pk).first()
        if locked is None:
            return
        if locked.answered_by and locked.answered_by != index.answered_by:
            raise EmbeddingError(f"{index.answered_by} answered, but the index has come to hold vectors of {locked.answered_by}: try again")
        wanted = [chunk.pk for chunk in chunks]
        lacking = set(Chunk.objects.filter(pk__in=wanted).values_list("pk", flat=True)) - engine().vectors(locked, wanted).keys()
        chunks = [chunk for chunk in chunks if chunk.pk in lacking]
        if chunks:
            engine().add(index, [chunk.pk for chunk in chunks], np.stack([vectors[chunk.digest] for chunk in chunks]))
            Index.objects.filter(pk=index.pk).update(
                answered_by=index.answered_by, query_prompt=index.query_prompt, passage_prompt=index.passage_prompt
            )


def missing(index: Index) -> list[int]:
    """Return the collection's passages that the index lacks."""
    wanted = Chunk.objects.filter(collection_id=index.collection_id).order_by("pk").values_list("pk", flat=True)
    held = engine().ids(index)
    return [pk for pk in wanted if pk not in held]


def reconcile() -> None:
    """After a crash or a move, remove vectors of deleted passages, and queue rebuilds of indexes that lost vectors."""
    for index in Index.objects.exclude(dimension=None):
        engine().check(index)
        passages = Chunk.objects.filter(collection_id=index.collection_id).order_by("pk")
        held = engine().ids(index)
        gone = held - set(passages.values_list("pk", flat=True))
        if gone:
            engine().remove(index, sorted(gone))
        serves = Collection.objects.filter(Q(serving=index) | Q(companion=index)).exists()
        if serves and set(passages.filter(document__state=Document.State.READY).values_list("pk", flat=True)) - held:
            Index.objects.filter(pk=index.pk).update(state=Index.State.BUILDING)
    worker_events.wake()
