"""Write sources and their items."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from search import services, worker_events
from search.models import Collection, Document, Source, SourceItem
from webapp.patterns.errors import InputError
from webapp.patterns.http.addresses import check_url

MAX_SOURCES = 50
"""Sources of one collection."""


def key_of(address: str) -> str:
    """Return the key of an item's address."""
    return hashlib.sha256(address.encode(errors="surrogatepass")).hexdigest()


def folder_source(*, collection: Collection, path: str) -> Source:
    """Return the collection's source for a folder, created if missing."""
    return Source.objects.get_or_create(collection=collection, kind=Source.Kind.FOLDER, address=path)[0]


def create_web_source(
    *, collection: Collection, kind: Source.Kind, addresses: list[str], depth: int = 0, max_pages: int = 200, every_minutes: int = 1440
) -> Source:
    """Create a source that is read at once and then every `every_minutes` minutes.

    Raises:
        InputError: an address is not allowed, or the collection has enough sources.
    """
    check_room(collection)
    for address in addresses:
        check_url(address, public=not settings.PRIVATE_WEBHOOKS)
    source = Source.objects.create(
        collection=collection,
        kind=kind,
        address="\n".join(addresses),
        depth=depth if kind == Source.Kind.PAGES else 0,
        max_pages=max_pages,
        every_minutes=every_minutes,
        next_read_at=timezone.now(),
    )
    worker_events.wake()
    return source


def delete_source(*, source: Source, keep_documents: bool) -> None:
    """Stop following a source. Its documents stay, or are deleted with it."""
    with transaction.atomic():
        documents = [] if keep_documents else list(Document.objects.filter(pk__in=source.items.values("document")).defer("text"))
        source.delete()
        for document in documents:
            services.delete_document(document=document)


def store_version(
    *, source: Source, address: str, name: str, content: Iterable[bytes], version: str, etag: str = "", last_modified: str = ""
) -> Document:
    """Store a new version of a file or page, which replaces the one before.

    Raises:
        InputError: the content is too large.
        OSError: the content cannot be read.
    """
    item = _item(source, address)
    document = services.add_version(
        collection=source.collection, name=name, content=content, previous=item.document if item is not None else None
    )
    fields = {"document": document, "version": version, "etag": etag, "last_modified": last_modified, "why": "", "read_at": timezone.now()}
    SourceItem.objects.update_or_create(source=source, key=key_of(address), defaults={"address": address, **fields})
    return document


def _item(source: Source, address: str) -> SourceItem | None:
    return source.items.filter(key=key_of(address)).select_related("document").defer("document__text").first()


def adopt_document(*, source: Source, address: str, document: Document, version: str) -> None:
    """Make a document that was added before the address's document."""
    fields = {"address": address, "document": document, "version": version, "why": "", "read_at": timezone.now()}
    SourceItem.objects.update_or_create(source=source, key=key_of(address), defaults=fields)


def note_unchanged(*, item: SourceItem, etag: str, last_modified: str) -> None:
    """Note that a page was read and has not changed. A server may leave its validators out of such an answer."""
    item.etag, item.last_modified = etag or item.etag, last_modified or item.last_modified
    item.why, item.read_at = "", timezone.now()
    SourceItem.objects.filter(pk=item.pk).update(etag=item.etag, last_modified=item.last_modified, why="", read_at=item.read_at)


def unfinished_documents(source: Source) -> list[tuple[str, Document]]:
    """Return the addresses and documents of a source that are not ingested yet."""
    rows = source.items.filter(document__state__in=Document.UNDER_WAY).select_related("document").defer("document__text")
    return [(item.address, item.document) for item in rows if item.document is not None]


def note_failure(*, source: Source, address: str, why: str, version: str = "") -> None:
    """Note why a file or page could not be read. Its document stays as it was."""
    fields = {"address": address, "why": why[:500], "read_at": timezone.now(), **({"version": version} if version else {})}
    SourceItem.objects.update_or_create(source=source, key=key_of(address), defaults=fields)


def remove_item(*, item: SourceItem) -> None:
    """Delete a file or page that is gone, with its document."""
    with transaction.atomic():
        documents = list(Document.objects.filter(pk__in=[item.document_id]).defer("text")) if item.document_id else []
        item.delete()
        for document in documents:
            services.delete_document(document=document)


def note_read(*, source: Source, why: str = "") -> None:
    """Note that a source was read now, and why that failed."""
    Source.objects.filter(pk=source.pk).update(last_read_at=timezone.now(), why=why[:500])


def check_room(collection: Collection) -> None:
    """Check that a collection may have another source.

    Raises:
        InputError: it has `MAX_SOURCES`.
    """
    if collection.sources.count() >= MAX_SOURCES:
        raise InputError(f"A collection can follow up to {MAX_SOURCES} sources.", param="address")
