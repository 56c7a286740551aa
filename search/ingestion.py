"""Bring a document into the index: parse it, split it into passages, embed them, and mark it ready or failed.

A worker holds a lease on the document's row and renews it. Passages are stored once and vectors as they arrive, so a process that takes
over an expired lease continues the work. A process that dies while it reads the file may have died of the file: after three deaths, the
document fails. Deaths at any other time are not the document's fault.
"""

from __future__ import annotations

import asyncio
import logging

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from search import leases, services, worker_events
from search.chunking import TARGET_TOKENS, passages
from search.index import embed_index, engine
from search.models import Chunk, Collection, Document, Index, scope
from search.parsing.bounded import parse
from search.parsing.document import Parsed, Unreadable
from search.vector_stores import source_files
from webapp.core.database import DB_UNAVAILABLE, in_database
from webapp.core.leases import claim as claim_lease
from webapp.core.leases import held
from webapp.patterns.embeddings.embedding import content_key
from webapp.patterns.errors import PatternError
from webapp.patterns.tokens.counting import count_text

logger = logging.getLogger("patchbay.search")
MAX_TRIES = 3
State = Document.State


def claim() -> Document | None:
    """Claim the oldest document that no worker holds."""
    return claim_lease(_waiting().order_by("created_at"), owner=leases.worker())


def claim_one(document: Document) -> Document | None:
    """Claim this document, unless a worker holds it."""
    return claim_lease(_waiting().filter(pk=document.pk), owner=leases.worker())


def _waiting() -> QuerySet[Document]:
    return Document.objects.filter(state__in=Document.UNDER_WAY).select_related("collection__owner").defer("text")


async def ingest(document: Document) -> None:
    """Bring a claimed document to ready or failed. After a cancellation, release the document."""
    try:
        async with leases.renewed(document):
            await _run(document)
    except Unreadable as error:
        failure = Document.Failure.UNSUPPORTED if error.unsupported else Document.Failure.INVALID
        await in_database(_fail, document, str(error), failure, error.scanned)
    except PatternError as error:
        await in_database(_fail, document, error.message, Document.Failure.SERVER)
    except asyncio.CancelledError:
        await asyncio.shield(in_database(_give_back, document))
        raise
    except Document.DoesNotExist:
        logger.info("document %s was deleted, cancelled, or taken over while it was read", document.pk)
    except DB_UNAVAILABLE:
        raise  # the database failed, not the document: another worker continues when the lease is over
    except Exception as error:
        logger.exception("ingesting document %s broke", document.pk)
        why = f"Patchbay had an internal error ({type(error).__name__}). The server's log has the details"
        await in_database(_fail, document, why, Document.Failure.SERVER)


async def _run(document: Document) -> None:
    if document.state != State.EMBEDDING:
        if document.tries >= MAX_TRIES:
            raise Unreadable(f"Reading it was interrupted {MAX_TRIES} times")
        await in_database(_set, document, state=State.PARSING, tries=F("tries") + 1)
        path = await asyncio.to_thread(services.kept_file, document.pk)
        if document.file_id and not path.exists():
            await source_files.fetch(document)
        parsed = await parse(path, document.name, recognize=document.recognize)
        await in_database(_store_passages, document, parsed)
    await _embed(document)
    await in_database(_finish, document, describe=bool(document.collection.describe_with))


def _held(document: Document) -> QuerySet[Document]:
    """Match the document while it is to be processed and this worker holds it."""
    return held(document).filter(state__in=Document.UNDER_WAY)


def _set(document: Document, **fields: object) -> None:
    """Change a document that is being processed.

    Raises:
        Document.DoesNotExist: it was deleted, cancelled, or taken over by another worker.
    """
    if not _held(document).update(**fields):
        raise Document.DoesNotExist


def _store_passages(document: Document, parsed: Parsed) -> None:
    """Store the text and its passages, all or none."""
    chunks = [
        Chunk(
            document_id=document.pk,
            collection_id=document.collection_id,
            scope=scope(document.collection_id),
            heading=passage.heading,
            text=passage.text,
            start=passage.start,
            end=passage.end,
            tokens=passage.tokens,
        )
        for passage in passages(parsed, count_text, target=document.passage_tokens or TARGET_TOKENS, overlap=document.overlap_tokens)
    ]
    for chunk in chunks:
        chunk.digest = content_key(chunk.embedded_text, "")
        chunk.set_words()
    with transaction.atomic():
        changed = _held(document).update(
            text=parsed.text,
            kind=parsed.kind,
            notes=parsed.notes,
            scanned=parsed.scanned,
            pages=parsed.pages,
            state=State.EMBEDDING,
            passages=len(chunks),
            embedded=0,
            tokens=sum(chunk.tokens for chunk in chunks),
            tries=0,
        )
        if not changed:
            raise Document.DoesNotExist
        Chunk.objects.filter(document_id=document.pk).delete()
        Chunk.objects.bulk_create(chunks, batch_size=500)
    document.passages = len(chunks)


async def _embed(document: Document) -> None:
    """Embed the document's passages into the serving index, its companion, and one that is being built."""

    async def progress(done: int) -> None:
        await in_database(_set, document, embedded=F("embedded") + done)

    async def silent(_done: int) -> None:
        return

    serving, indexes = await in_database(_places, document)
    for index in indexes:
        todo, done = await in_database(_missing, document, index)
        if index.pk == serving:
            await in_database(_set, document, embedded=done)
        try:
            await embed_index.fill(index, todo, user=document.collection.owner, progress=progress if index.pk == serving else silent)
        except PatternError as error:
            if index.pk == serving:
                raise
            await in_database(Index.objects.filter(pk=index.pk).update, state=Index.State.FAILED, why=error.message[:500])


def _places(document: Document) -> tuple[int | None, list[Index]]:
    """Return the serving index and all indexes to fill, as of now: the serving one may have changed during parsing."""
    serving, companion = Collection.objects.values_list("serving", "companion").get(pk=document.collection_id)
    filled = Q(pk__in=[pk for pk in (serving, companion) if pk]) | Q(state=Index.State.BUILDING)
    return serving, list(Index.objects.filter(filled, collection=document.collection_id))


def _missing(document: Document, index: Index) -> tuple[list[int], int]:
    """Return the document's passages that the index lacks, and the number that it has."""
    wanted = list(Chunk.objects.filter(document_id=document.pk).order_by("pk").values_list("pk", flat=True))
    held = engine().vectors(index, wanted)
    return [pk for pk in wanted if pk not in held], len(held)


def _finish(document: Document, *, describe: bool) -> None:
    """Mark the document as ready and delete the version it replaces, in one transaction."""
    with transaction.atomic():
        changed = _held(document).update(
            state=State.READY,
            why="",
            failure="",
            embedded=F("passages"),
            ready_at=timezone.now(),
            to_describe=describe or None,
            **leases.RELEASED,
        )
        if not changed:
            raise Document.DoesNotExist
        replaced = document.replaces_id
        while replaced:
            older = Document.objects.defer("text").get(pk=replaced)
            replaced = older.replaces_id
            services.delete_document(document=older)
    if describe:
        worker_events.wake()


def _fail(document: Document, why: str, failure: Document.Failure, scanned: int = 0) -> None:
    _held(document).update(state=State.FAILED, why=why[:500], failure=failure, scanned=scanned, recognize=False, **leases.RELEASED)


def _give_back(document: Document) -> None:
    """Release the document. That reading it was stopped in order does not count against it."""
    _held(document).filter(state=State.PARSING, tries__gt=0).update(tries=F("tries") - 1)
    _held(document).update(**leases.RELEASED)
