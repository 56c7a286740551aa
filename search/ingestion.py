"""Bring a document into the index: parse it, split it into passages, embed them, and mark it ready or failed.

A worker holds a lease on the document's row and renews it. Passages are stored once and vectors as they arrive, so a process that takes
over an expired lease continues the work.
"""

from __future__ import annotations

import asyncio
import logging
from uuid import UUID

from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone

from search import leases, services, worker_events
from search.chunking import TARGET_TOKENS, passages
from search.index import embed_index, engine
from search.models import Chunk, Collection, Document, Index, scope
from search.parsing.bounded import parse
from search.parsing.document import Parsed, Unreadable
from search.vector_stores import source_files
from webapp.core.database import DB_UNAVAILABLE, in_database
from webapp.patterns.embeddings.embedding import content_key
from webapp.patterns.errors import PatternError
from webapp.patterns.tokens.counting import count_text

logger = logging.getLogger("patchbay.search")
MAX_TRIES = 3
State = Document.State


def claim() -> UUID | None:
    """Claim the oldest document that no worker holds."""
    waiting = Document.objects.filter(leases.free(), state__in=Document.UNDER_WAY).order_by("created_at")
    return next((pk for pk in waiting.values_list("pk", flat=True)[:10] if claim_one(pk)), None)


def claim_one(pk: UUID) -> bool:
    """Claim this document, unless a worker holds it."""
    return leases.take(Document.objects.filter(pk=pk, state__in=Document.UNDER_WAY), tries=F("tries") + 1)


async def ingest(pk: UUID) -> None:
    """Bring a claimed document to ready or failed. After a cancellation, release the document."""
    try:
        async with leases.renewed(Document.objects.filter(pk=pk)):
            await _run(pk)
    except Unreadable as error:
        failure = Document.Failure.UNSUPPORTED if error.unsupported else Document.Failure.INVALID
        await in_database(_fail, pk, str(error), failure, error.scanned)
    except PatternError as error:
        await in_database(_fail, pk, error.message, Document.Failure.SERVER)
    except asyncio.CancelledError:
        await asyncio.shield(in_database(_give_back, pk))
        raise
    except Document.DoesNotExist:
        logger.info("document %s was deleted or cancelled while it was read", pk)
    except DB_UNAVAILABLE:
        raise  # the database failed, not the document: another worker continues when the lease is over
    except Exception as error:
        logger.exception("ingesting document %s broke", pk)
        why = f"Patchbay had an internal error ({type(error).__name__}). The server's log has the details"
        await in_database(_fail, pk, why, Document.Failure.SERVER)


async def _run(pk: UUID) -> None:
    document = await in_database(Document.objects.select_related("collection__owner").defer("text").get, pk=pk)
    if document.tries > MAX_TRIES:
        raise Unreadable(f"Processing it was interrupted {MAX_TRIES} times")
    if document.state != State.EMBEDDING:
        await in_database(_set, pk, state=State.PARSING)
        path = await asyncio.to_thread(services.kept_file, pk)
        if document.file_id and not path.exists():
            await source_files.fetch(document)
        parsed = await parse(path, document.name, recognize=document.recognize)
        await in_database(_store_passages, document, parsed)
    await _embed(document)
    await in_database(_finish, pk, describe=bool(document.collection.describe_with))


def _set(pk: UUID, **fields: object) -> None:
    """Change a document that is being processed.

    Raises:
        Document.DoesNotExist: it was deleted or cancelled.
    """
    if not Document.objects.filter(pk=pk, state__in=Document.UNDER_WAY).update(**fields):
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
        Chunk.objects.filter(document_id=document.pk).delete()
        changed = Document.objects.filter(pk=document.pk, state__in=Document.UNDER_WAY).update(
            text=parsed.text,
            kind=parsed.kind,
            notes=parsed.notes,
            scanned=parsed.scanned,
            pages=parsed.pages,
            state=State.EMBEDDING,
            passages=len(chunks),
            embedded=0,
            tokens=sum(chunk.tokens for chunk in chunks),
        )
        if not changed:
            raise Document.DoesNotExist
        Chunk.objects.bulk_create(chunks, batch_size=500)
    document.passages = len(chunks)


async def _embed(document: Document) -> None:
    """Embed the document's passages into the serving index, its companion, and one that is being built."""

    async def progress(done: int) -> None:
        await in_database(_set, document.pk, embedded=F("embedded") + done)

    async def silent(_done: int) -> None:
        return

    serving, indexes = await in_database(_places, document)
    for index in indexes:
        todo, done = await in_database(_missing, document, index)
        if index.pk == serving:
            await in_database(_set, document.pk, embedded=done)
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


def _finish(pk: UUID, *, describe: bool) -> None:
    """Mark the document as ready and delete the version it replaces, in one transaction."""
    with transaction.atomic():
        changed = Document.objects.filter(pk=pk, state__in=Document.UNDER_WAY).update(
            state=State.READY,
            why="",
            failure="",
            embedded=F("passages"),
            leased_until=None,
            ready_at=timezone.now(),
            to_describe=describe or None,
        )
        if not changed:
            raise Document.DoesNotExist
        replaced = Document.objects.only("replaces").get(pk=pk).replaces_id
        while replaced:
            older = Document.objects.defer("text").get(pk=replaced)
            replaced = older.replaces_id
            services.delete_document(document=older)
    if describe:
        worker_events.wake()


def _fail(pk: UUID, why: str, failure: Document.Failure, scanned: int = 0) -> None:
    Document.objects.filter(pk=pk, state__in=Document.UNDER_WAY).update(
        state=State.FAILED, why=why[:500], failure=failure, scanned=scanned, recognize=False, leased_until=None
    )


def _give_back(pk: UUID) -> None:
    Document.objects.filter(pk=pk, state__in=Document.UNDER_WAY).update(leased_until=None, tries=F("tries") - 1)
