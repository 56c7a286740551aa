"""Write stores and their files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from search import leases, services, worker_events
from search.models import DEFAULT_MODEL, Collection, Document, FileBatch
from search.vector_stores.lookup import FILE_PREFIX, parse_uuid
from webapp.accounts.models import User
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

UNNAMED = "Vector store"
MAX_NAME_CHARS = 90
"""Leaves room for a number in a collection's name of 100 characters."""
MAX_NAMESAKES = 10_000


@dataclass(frozen=True, slots=True)
class Chunking:
    """The rules for splitting a file: the longest passage in tokens (None for the default), and the tokens that neighbors share."""

    passage_tokens: int | None = None
    overlap_tokens: int = 0

    @classmethod
    def of(cls, strategy: Json | None) -> Chunking:
        """Return the chunking of a request's `chunking_strategy`.

        Raises:
            InputError: the overlap exceeds half of a passage.
        """
        if not strategy or strategy["type"] == "auto":
            return cls()
        wanted = strategy["static"]
        size, overlap = int(wanted["max_chunk_size_tokens"]), int(wanted["chunk_overlap_tokens"])
        if overlap > size // 2:
            param = "chunking_strategy.static.chunk_overlap_tokens"
            raise InputError(f"Invalid '{param}': at most half of max_chunk_size_tokens.", param=param, code="invalid_value")
        return cls(size, overlap)


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file of `/v1/files` to add to a store. `described` is its file object."""

    described: Json
    chunking: Chunking = Chunking()
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> UUID:
        """Return the UUID of the file."""
        key = parse_uuid(self.described["id"], FILE_PREFIX)
        if key is None:
            raise InputError(f"'{self.described['id']}' is not the id of a file.", param="file_id", code="invalid_value")
        return key


def create_store(*, owner: User, body: Json, files: Sequence[NewFile] = ()) -> Collection:
    """Create a collection from the body of a request, and add files to it."""
    with transaction.atomic():
        name = str(body.get("name") or "")
        model = body.get("embedding_model") or DEFAULT_MODEL
        store = _with_unique_name(name, lambda unique: services.create_collection(owner=owner, name=unique, model=model))
        _apply(store, {**body, "name": name})
        add_files(store=store, files=files)
    return store


def _with_unique_name(name: str, create: Callable[[str], Collection]) -> Collection:
    """Create a collection with this name, or else with this name and a number: the names of an owner's collections are unique."""
    base = services.clean_name(name)[:MAX_NAME_CHARS] if name.strip() else UNNAMED
    for number in range(1, MAX_NAMESAKES):
        with suppress(InputError):  # the name is taken
            return create(base if number == 1 else f"{base} ({number})")
    return create(f"{base} ({MAX_NAMESAKES})")


def update_store(*, store: Collection, body: Json) -> None:
    """Change the fields that the body of a request has. This counts as use of the store."""
    with transaction.atomic():
        _apply(store, body)


def _apply(store: Collection, body: Json) -> None:
    """Set the fields of a body and save the store."""
    name = body.get("name")
    if name is not None:
        _rename(store, str(name))
    if body.get("description") is not None:
        store.description = body["description"]
    if "metadata" in body:
        store.metadata = body["metadata"] or {}
    if "expires_after" in body:
        store.expires_after_days = int(body["expires_after"]["days"]) if body["expires_after"] else None
    store.last_active_at = timezone.now()
    store.save(update_fields=["name", "api_name", "description", "metadata", "expires_after_days", "last_active_at"])


def _rename(store: Collection, name: str) -> None:
    """Set the name in the API; the collection gets it, too, where it is free."""
    wanted = services.clean_name(name)[:MAX_NAME_CHARS] if name.strip() else store.name
    taken = Collection.objects.filter(owner=store.owner_id, name=wanted).exclude(pk=store.pk).exists()
    if not taken:
        store.name = wanted
    store.api_name = None if store.name == name else name


def add_files(*, store: Collection, files: Sequence[NewFile], batch: FileBatch | None = None) -> list[Document]:
    """Add files to a store, in their order. A file that is there already gets the new attributes, and is read again where needed."""
    added = {file.key: file for file in files}
    with transaction.atomic():
        for doomed in store.documents.filter(file_id__in=list(added), state=Document.State.DELETING).defer("text"):
            services.delete_document(document=doomed)
        known = {document.file_id for document in store.documents.filter(file_id__in=list(added)).only("file_id")}
        fresh = [_document(store, file, batch) for key, file in added.items() if key not in known]
        Document.objects.bulk_create(fresh, ignore_conflicts=True)
        created = {document.pk for document in fresh}
        documents = {document.file_id: document for document in store.documents.filter(file_id__in=list(added)).defer("text")}
        for key, document in documents.items():
            if document.pk not in created and key is not None:
                _add_again(document, added[key], batch)
        touch([store.pk])
        transaction.on_commit(worker_events.wake)
    return [documents[key] for key in added]


def _document(store: Collection, file: NewFile, batch: FileBatch | None) -> Document:
    return Document(
        collection=store,
        name=services.clean_name(str(file.described["filename"])),
        size=int(file.described["bytes"]),
        file_id=file.key,
        attributes=dict(file.attributes),
        passage_tokens=file.chunking.passage_tokens,
        overlap_tokens=file.chunking.overlap_tokens,
        batch=batch,
    )


def _add_again(document: Document, file: NewFile, batch: FileBatch | None) -> None:
    """Give a document new attributes. Read it again if it is unusable, or is to be split in another way."""
    chunking = Chunking(document.passage_tokens, document.overlap_tokens)
    document.attributes, document.batch = dict(file.attributes), batch or document.batch
    document.passage_tokens, document.overlap_tokens = file.chunking.passage_tokens, file.chunking.overlap_tokens
    if document.state in Document.UNUSABLE or chunking != file.chunking:
        services.remove_passages(document=document)
        document.state, document.why, document.failure = Document.State.QUEUED, "", ""
        document.tries, document.owner, document.lease_until, document.fence = 0, "", None, document.fence + 1
    document.save(
        update_fields=[
            *("attributes", "batch", "passage_tokens", "overlap_tokens"),
            *("state", "why", "failure", "tries", "owner", "lease_until", "fence"),
        ]
    )


def create_batch(*, store: Collection, files: Sequence[NewFile]) -> FileBatch:
    """Add files to a store together."""
    with transaction.atomic():
        batch = FileBatch.objects.create(collection=store)
        add_files(store=store, files=files, batch=batch)
    return batch


def cancel_batch(*, batch: FileBatch) -> None:
    """Cancel the files of a batch that are not finished. A finished batch stays as it is."""
    with transaction.atomic():
        unfinished = list(batch.documents.select_for_update().filter(state__in=Document.UNDER_WAY).defer("text"))
        for document in unfinished:
            services.remove_passages(document=document)
        cancelled = Document.objects.filter(pk__in=[document.pk for document in unfinished])
        cancelled.update(state=Document.State.CANCELLED, passages=0, embedded=0, **leases.REVOKED)
        if unfinished:
            batch.is_cancelled = True
            batch.save(update_fields=["is_cancelled"])


def touch(stores: Iterable[int]) -> None:
    """Note that collections are used now, which postpones their expiry."""
    Collection.objects.filter(pk__in=stores).update(last_active_at=timezone.now())


def delete_expired() -> int:
    """Delete the documents of expired collections; return their number. The collections stay, as in OpenAI's API."""
    expiring: QuerySet[Collection] = Collection.objects.exclude(expires_after_days=None)
    expired = [store for store in expiring if store.is_expired]
    deleted = 0
    for document in Document.objects.filter(collection__in=expired).defer("text"):
        services.delete_document(document=document)
        deleted += 1
    return deleted
