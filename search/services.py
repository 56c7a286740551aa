"""Write collections and documents, and choose the serving index."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import IntegrityError, transaction
from django.db.models import QuerySet

from search import leases, page_pictures, worker_events
from search.index import engine
from search.index.companion import add_companion
from search.lookups import has_tag
from search.models import DEFAULT_MODEL, Chunk, Collection, Document, Index, Upload
from webapp.accounts.models import User
from webapp.builtin import MINILM
from webapp.core import file_store
from webapp.patterns import sanitize
from webapp.patterns.errors import InputError

DEFAULT_COLLECTION = "Documents"
MAX_FILE_BYTES = 200 * 1024 * 1024
MAX_NAME_CHARS = 200
MAX_TAG_CHARS = 40
PIECE = 1024 * 1024
BATCH = 500
"""Documents that a change of many locks at once."""
ENDED = (Document.State.READY, *Document.RETRIABLE)
QUEUED_AGAIN: dict[str, Any] = {"state": Document.State.QUEUED, "why": "", "failure": "", "tries": 0, **leases.REVOKED}


@dataclass(frozen=True, slots=True)
class Added:
    """The result of adding content. `existed` means that the collection already holds this content, as `document`."""

    document: Document
    existed: bool


def create_collection(
    *, owner: User, name: str, description: str = "", model: str = DEFAULT_MODEL, conversation: uuid.UUID | None = None
) -> Collection:
    """Create a collection with an empty serving index.

    Raises:
        InputError: the owner has a collection with this name.
    """
    name = clean_name(name)[:100]
    with _unique(name):
        collection = Collection.objects.create(owner=owner, name=name, description=description, conversation=conversation)
        collection.serving = Index.objects.create(collection=collection, model=model, state=Index.State.READY)
        collection.save(update_fields=["serving"])
        if conversation is None:  # a chat waits for its documents, and has few
            add_companion(collection, model, Index.State.READY)
    return collection


def default_collection(*, owner: User, name: str = DEFAULT_COLLECTION) -> Collection:
    """Return the owner's collection with this name, created if missing."""
    found = Collection.objects.filter(owner=owner, name=clean_name(name)[:100])
    try:
        return found.first() or create_collection(owner=owner, name=name)
    except InputError:  # another process was first
        return found.get()


@contextmanager
def _unique(name: str) -> Iterator[None]:
    """Open a transaction that gives a collection this name."""
    try:
        with transaction.atomic():
            yield
    except IntegrityError as error:
        raise InputError(f"You already have a collection named “{name}”", param="name") from error


def change_collection(
    *,
    collection: Collection,
    name: str,
    description: str,
    groups: Sequence[Group],
    describe_with: str = "",
    rerank_with: str = "",
    describe_existing: bool = False,
) -> None:
    """Rename a collection, share it with exactly these groups, and set the models that describe its documents and rerank its passages.

    The first model describes new documents, and those without a summary.
    """
    name = clean_name(name)[:100]
    with _unique(name):
        changed = Collection.objects.filter(pk=collection.pk)
        if name != collection.name:
            changed.update(name=name, api_name=None)
        changed.update(description=description, describe_with=describe_with, rerank_with=rerank_with)
        collection.groups.set(groups)
    if describe_existing and describe_with:
        describe_documents(documents=collection.documents.filter(summary=""))


def delete_collection(*, collection: Collection) -> None:
    """Delete a collection with its documents, their files, passages, and vectors."""
    with transaction.atomic():
        Collection.objects.select_for_update().get(pk=collection.pk)  # from here on no process adds to it
        collection.delete()


def add_file(*, collection: Collection, name: str, content: Iterable[bytes], upload: Upload | None = None) -> Added:
    """Store a file and queue it. The same content is added once. A file of the same name replaces the older one when it is ready.

    Raises:
        InputError: the file is too large.
    """
    return _add(Document(id=uuid.uuid4(), collection=collection, name=clean_name(name), upload=upload), content, replace=True)


def add_text(*, collection: Collection, name: str, text: str) -> Added:
    """Store a pasted text as Markdown. It replaces nothing."""
    name = clean_name(name or text.strip().split("\n", 1)[0][:80]).removesuffix(".md") + ".md"
    return _add(Document(id=uuid.uuid4(), collection=collection, name=name), [text.encode(errors="replace")], replace=False)


def add_version(*, collection: Collection, name: str, content: Iterable[bytes], previous: Document | None) -> Document:
    """Store a file of a source and queue it. It replaces `previous` when it is ready, and no other document.

    Raises:
        InputError: the file is too large.
    """
    is_usable = previous is not None and previous.state not in Document.UNUSABLE
    document = Document(id=uuid.uuid4(), collection=collection, name=clean_name(name), replaces=previous if is_usable else None)
    path = file_path(document.pk)
    try:
        document.size, document.digest = store_content(path, content)
        document.save(force_insert=True)
    except BaseException:
        file_store.forget(path)
        raise
    if previous is not None and not is_usable:
        delete_document(document=previous)
    worker_events.wake()
    return document


def _add(document: Document, content: Iterable[bytes], *, replace: bool) -> Added:
    path = file_path(document.pk)
    namesakes = Document.objects.filter(collection=document.collection, name=document.name)
    try:
        document.size, document.digest = store_content(path, content)
        if existing := _same(document):
            file_store.forget(path)
            return Added(existing, existed=True)
        if replace:
            document.replaces = namesakes.exclude(state__in=Document.UNUSABLE).first()
        document.save(force_insert=True)
    except BaseException:
        file_store.forget(path)
        raise
    for failed in namesakes.filter(state__in=Document.UNUSABLE) if replace else ():
        delete_document(document=failed)
    worker_events.wake()
    return Added(document, existed=False)


def _same(document: Document) -> Document | None:
    """Return a lasting document of the collection with the same content."""
    alive = Document.objects.filter(collection_id=document.collection_id).exclude(state__in=Document.UNUSABLE)
    replaced = alive.exclude(replaces=None).values("replaces")
    return alive.filter(digest=document.digest).exclude(pk__in=replaced).first()


def store_content(path: Path, content: Iterable[bytes]) -> tuple[int, str]:
    """Write the content; return its size and SHA-256.

    Raises:
        InputError: the content is too large.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    size, digest = 0, hashlib.sha256()
    with path.open("xb") as file:
        for piece in content:
            size += len(piece)
            if size > MAX_FILE_BYTES:
                raise InputError(f"Files can be up to {MAX_FILE_BYTES // 1024 // 1024} MB", param="file")
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    publish(path)
    return size, digest.hexdigest()


def publish(path: Path) -> None:
    """Copy a file to the file store, if there is one.

    Raises:
        InputError: the store does not answer.
    """
    try:
        file_store.publish(path)
    except file_store.StoreUnavailableError as error:
        raise InputError("The file store does not answer. Try again later.", param="file") from error


def pieces(path: Path) -> Iterator[bytes]:
    """Yield the content of a local file, in the form that `add_file` takes."""
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            yield piece


def file_path(document_id: uuid.UUID) -> Path:
    """Return the path of a document's file. Its name is never part of the path."""
    return Path(settings.MEDIA_ROOT) / "search" / document_id.hex[:2] / document_id.hex


def kept_file(document_id: uuid.UUID) -> Path:
    """Return the path of a document's file, after fetching it from the file store if it is missing here."""
    return file_store.local(file_path(document_id))


def clean_name(name: str) -> str:
    """Return a name for display: one line of printable characters, at most MAX_NAME_CHARS, with its suffix."""
    text = "".join(" " if unicodedata.category(char).startswith("C") else char for char in name)
    text = re.sub(r"\s+", " ", text).strip().lstrip("./\\") or "Untitled"
    if len(text) <= MAX_NAME_CHARS:
        return text
    stem, dot, suffix = text.rpartition(".")
    return f"{stem[: MAX_NAME_CHARS - 20]}….{suffix}" if dot and len(suffix) < 10 else text[: MAX_NAME_CHARS - 1] + "…"


def delete_document(*, document: Document) -> None:
    """Delete a document with its file, passages, and vectors."""
    pk = document.pk
    with transaction.atomic():
        # A worker that stores passages of this document has finished, or finds it deleted.
        Document.objects.select_for_update().only("pk").filter(pk=pk).first()
        ids = list(Chunk.objects.filter(document=pk).values_list("pk", flat=True))
        document.delete()
        transaction.on_commit(lambda: unlink([file_path(pk)]), robust=True)
        transaction.on_commit(lambda: page_pictures.forget([pk]))
        transaction.on_commit(lambda: _remove_vectors(document.collection_id, ids))


def _remove_vectors(collection_id: int, ids: Sequence[int]) -> None:
    for index in Index.objects.filter(collection=collection_id):
        engine().remove(index, ids)


def unlink(paths: Iterable[Path]) -> None:
    """Remove files; ignore those that are already gone."""
    for path in paths:
        file_store.forget(path)


def delete_documents(*, documents: QuerySet[Document]) -> int:
    """Hide these documents at once, and let a worker delete them (`search.deletion`); return their number."""
    present = documents.exclude(state=Document.State.DELETING)
    hidden = present.update(state=Document.State.DELETING, **leases.REVOKED, file_id=None, batch=None)
    worker_events.wake()
    return hidden


def retry_document(*, document: Document) -> None:
    """Queue a failed or cancelled document again."""
    retry_documents(documents=Document.objects.filter(pk=document.pk))


def retry_documents(*, documents: QuerySet[Document]) -> int:
    """Queue the failed and the cancelled ones among these documents again; return their number."""
    queued = documents.filter(state__in=Document.RETRIABLE).update(**QUEUED_AGAIN)
    worker_events.wake()
    return queued


def reread_documents(*, documents: QuerySet[Document]) -> int:
    """Queue the ready and the failed ones among these documents again; return their number. Until they are read, no search finds them."""
    ended = documents.filter(state__in=ENDED)
    pks = list(ended.values_list("pk", flat=True))
    queued = 0
    for start in range(0, len(pks), BATCH):
        batch = Document.objects.filter(pk__in=pks[start : start + BATCH])
        with transaction.atomic():
            chunks = list(Chunk.objects.filter(document__in=batch, document__state__in=ENDED).values_list("collection_id", "pk"))
            queued += batch.filter(state__in=ENDED).update(**QUEUED_AGAIN)
            for collection in {collection for collection, _ in chunks}:
                ids = [pk for owner, pk in chunks if owner == collection]
                transaction.on_commit(partial(_remove_vectors, collection, ids))
    worker_events.wake()
    return queued


def tag_documents(*, documents: QuerySet[Document], tag: str, remove: bool = False) -> int:
    """Add a tag to these documents, or remove it; return the number of documents that change."""
    tag = clean_tag(tag)
    without = documents.filter(has_tag(tag)) if remove else documents.exclude(has_tag(tag))
    pks = list(without.values_list("pk", flat=True))
    for start in range(0, len(pks), BATCH):
        with transaction.atomic():
            batch = list(Document.objects.select_for_update().only("tags").filter(pk__in=pks[start : start + BATCH]))
            for document in batch:
                kept = [each for each in document.tags if each != tag]
                document.tags = kept if remove else sorted([*kept, tag])
            Document.objects.bulk_update(batch, ["tags"])
    return len(pks)


def clean_tag(tag: str) -> str:
    """Return a tag as it is stored: one line, lower case.

    Raises:
        InputError: nothing is left of it.
    """
    cleaned = " ".join(sanitize.text(tag).split()).lower()[:MAX_TAG_CHARS].strip()
    if not cleaned:
        raise InputError("Enter a tag", param="tag")
    return cleaned


def recognize_document(*, document: Document) -> None:
    """Queue a document again, to read its pictures and its pages without text by text recognition (OCR)."""
    ended = Document.objects.filter(pk=document.pk, state__in=(Document.State.READY, Document.State.FAILED), scanned__gt=0)
    with transaction.atomic():
        ids = list(Chunk.objects.filter(document=document.pk).values_list("pk", flat=True))
        if ended.update(state=Document.State.QUEUED, recognize=True, why="", failure="", tries=0, **leases.REVOKED):
            transaction.on_commit(lambda: _remove_vectors(document.collection_id, ids))
    worker_events.wake()


def remove_passages(*, document: Document) -> None:
    """Delete the passages and vectors of a document, in the caller's transaction."""
    ids = list(Chunk.objects.filter(document=document.pk).values_list("pk", flat=True))
    Chunk.objects.filter(document=document.pk).delete()
    transaction.on_commit(lambda: _remove_vectors(document.collection_id, ids))


def describe_documents(*, documents: QuerySet[Document]) -> None:
    """Queue the ready documents among these for a (new) description, in collections that name a model for it."""
    ready = documents.filter(state=Document.State.READY).exclude(collection__describe_with="")
    ready.update(to_describe=True, why="")
    worker_events.wake()


def change_model(*, collection: Collection, model: str) -> Index:
    """Start a new index with another model next to the serving one. It takes over when it holds all passages."""
    with transaction.atomic():
        locked = Collection.objects.select_for_update().get(pk=collection.pk)
        locked.indexes.exclude(pk__in=[locked.serving_id or 0, locked.companion_id or 0]).delete()
        index = Index.objects.create(collection=locked, model=model)
        if not _can_be_companion(locked.serving):
            add_companion(locked, model, Index.State.BUILDING)
    worker_events.wake()
    return index


def _can_be_companion(serving: Index | None) -> bool:
    """Return whether the index becomes the companion when the new one takes over (`search.index.companion`)."""
    return serving is not None and serving.answered_by == MINILM.name


def build_again(*, index: Index) -> None:
    """Complete an index that failed or that served before; then it serves."""
    Index.objects.filter(pk=index.pk).update(state=Index.State.BUILDING, why="", **leases.REVOKED)
    worker_events.wake()


def drop_index(*, index: Index) -> None:
    """Delete an index that does not serve."""
    with transaction.atomic():
        if Collection.objects.filter(serving=index).exists():
            raise InputError("This index is in use. Switch to another one first.")
        Index.objects.filter(pk=index.pk).delete()
