"""Writes: collections, documents, and which index serves."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Group
from django.db import transaction
from django.db.models import QuerySet

from search import wakeup
from search.index import engine
from search.models import DEFAULT_MODEL, Chunk, Collection, Document, Index
from webapp.accounts.models import User
from webapp.patterns.errors import InputError

DEFAULT_COLLECTION = "Documents"
MAX_FILE_BYTES = 200 * 1024 * 1024
MAX_NAME_CHARS = 200


@dataclass(frozen=True, slots=True)
class Added:
    """`existed`: the collection holds this very content already, as `document`."""

    document: Document
    existed: bool


def create_collection(
    *, owner: User, name: str, description: str = "", model: str = DEFAULT_MODEL, conversation: uuid.UUID | None = None
) -> Collection:
    """A collection with an empty index that serves. Raises `InputError` when the owner has one of that name."""
    name = clean_name(name)[:100]
    if Collection.objects.filter(owner=owner, name=name).exists():
        raise InputError(f"You have a collection named “{name}” already", param="name")
    with transaction.atomic():
        collection = Collection.objects.create(owner=owner, name=name, description=description, conversation=conversation)
        collection.serving = Index.objects.create(collection=collection, model=model, state=Index.State.READY)
        collection.save(update_fields=["serving"])
    return collection


def default_collection(*, owner: User, name: str = DEFAULT_COLLECTION) -> Collection:
    """The owner's collection of that name, made when missing."""
    return Collection.objects.filter(owner=owner, name=name).first() or create_collection(owner=owner, name=name)


def change_collection(
    *,
    collection: Collection,
    name: str,
    description: str,
    groups: Sequence[Group],
    describe_with: str = "",
    describe_existing: bool = False,
) -> None:
    """Rename it, share it with exactly these groups, and choose who describes new documents (and those that lack a summary)."""
    name = clean_name(name)[:100]
    if Collection.objects.filter(owner=collection.owner, name=name).exclude(pk=collection.pk).exists():
        raise InputError(f"You have another collection named “{name}”", param="name")
    with transaction.atomic():
        collection.name, collection.description, collection.describe_with = name, description, describe_with
        collection.save(update_fields=["name", "description", "describe_with"])
        collection.groups.set(groups)
    if describe_existing and describe_with:
        describe_documents(documents=collection.documents.filter(summary=""))


def delete_collection(*, collection: Collection) -> None:
    """Delete it with its documents, their files, passages and vectors."""
    collection.delete()


def add_file(*, collection: Collection, name: str, content: Iterable[bytes]) -> Added:
    """Store a file and queue it. The same content is not added twice; the same name replaces the older file once the new one is ready.

    Raises:
        InputError: it is empty or too large.
    """
    document = Document(id=uuid.uuid4(), collection=collection, name=clean_name(name))
    path = file_path(document.pk)
    try:
        document.size, document.digest = _store(path, content)
        if existing := _same(document):
            path.unlink()
            return Added(existing, existed=True)
        document.replaces = collection.documents.filter(name=document.name).exclude(state=Document.State.FAILED).first()
        document.save(force_insert=True)
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    collection.documents.filter(name=document.name, state=Document.State.FAILED).delete()
    wakeup.wake()
    return Added(document, existed=False)


def add_text(*, collection: Collection, name: str, text: str) -> Added:
    """Store a pasted text, as Markdown. It replaces nothing."""
    name = clean_name(name or text.strip().split("\n", 1)[0][:80]).removesuffix(".md") + ".md"
    document = Document(id=uuid.uuid4(), collection=collection, name=name)
    document.size, document.digest = _store(file_path(document.pk), [text.encode(errors="replace")])
    if existing := _same(document):
        file_path(document.pk).unlink()
        return Added(existing, existed=True)
    document.save(force_insert=True)
    wakeup.wake()
    return Added(document, existed=False)


def _same(document: Document) -> Document | None:
    found = Document.objects.filter(collection_id=document.collection_id, digest=document.digest)
    return found.exclude(state=Document.State.FAILED).first()


def _store(path: Path, content: Iterable[bytes]) -> tuple[int, str]:
    """Write the content; its size and SHA-256."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    size, digest = 0, hashlib.sha256()
    with path.open("xb") as file:
        for piece in content:
            size += len(piece)
            if size > MAX_FILE_BYTES:
                path.unlink()
                raise InputError(f"A file may have {MAX_FILE_BYTES // 1024 // 1024} MB at most", param="file")
            digest.update(piece)
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def file_path(document_id: uuid.UUID) -> Path:
    """Where a document's file is: its name is never part of the path."""
    return Path(settings.MEDIA_ROOT) / "search" / document_id.hex[:2] / document_id.hex


def clean_name(name: str) -> str:
    """A name to show: one line of printable characters, at most MAX_NAME_CHARS, its suffix kept."""
    text = "".join(" " if unicodedata.category(char).startswith("C") else char for char in name)
    text = re.sub(r"\s+", " ", text).strip().lstrip("./\\") or "Untitled"
    if len(text) <= MAX_NAME_CHARS:
        return text
    stem, dot, suffix = text.rpartition(".")
    return f"{stem[: MAX_NAME_CHARS - 20]}….{suffix}" if dot and len(suffix) < 10 else text[: MAX_NAME_CHARS - 1] + "…"


def delete_document(*, document: Document) -> None:
    """Delete it with its file, passages and vectors."""
    ids = list(Chunk.objects.filter(document=document).values_list("pk", flat=True))
    indexes = list(Index.objects.filter(collection=document.collection_id))
    with transaction.atomic():
        document.delete()
        transaction.on_commit(lambda: _remove_from(indexes, ids))


def _remove_from(indexes: Iterable[Index], ids: Sequence[int]) -> None:
    for index in indexes:
        engine().remove(index, ids)


def retry_document(*, document: Document) -> None:
    """Queue a failed document again."""
    changed = Document.objects.filter(pk=document.pk, state=Document.State.FAILED)
    changed.update(state=Document.State.QUEUED, why="", tries=0, leased_until=None)
    wakeup.wake()


def describe_documents(*, documents: QuerySet[Document]) -> None:
    """Have those of these documents that are ready described, anew where they are already, in collections that name a model for it."""
    ready = documents.filter(state=Document.State.READY).exclude(collection__describe_with="")
    ready.update(to_describe=True, why="")
    wakeup.wake()


def change_model(*, collection: Collection, model: str) -> Index:
    """Begin a new index with another model beside the one that serves; it takes over when it holds all passages."""
    with transaction.atomic():
        locked = Collection.objects.select_for_update().get(pk=collection.pk)
        for index in locked.indexes.all():
            if index.pk != locked.serving_id:
                index.delete()
        index = Index.objects.create(collection=locked, model=model)
    wakeup.wake()
    return index


def build_again(*, index: Index) -> None:
    """Fill an index that failed, or that served before, with what it lacks; then it serves."""
    Index.objects.filter(pk=index.pk).update(state=Index.State.BUILDING, why="", leased_until=None)
    wakeup.wake()


def drop_index(*, index: Index) -> None:
    """Forget an index that does not serve."""
    with transaction.atomic():
        if Collection.objects.filter(serving=index).exists():
            raise InputError("This index serves: let another one take over first")
        index.delete()
