"""Serve `/v1/vector_stores`: the handlers that `webapp.ports.vector_stores` describes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from django.db import transaction

from search import services as collections
from search.models import Collection, Document
from search.vector_stores import lookup, services, source_files
from search.vector_stores.document_files import DocumentFiles
from search.vector_stores.objects import batch_object, count_files, count_stores, file_object, store_object
from search.vector_stores.rewriting import rewrite_queries
from search.vector_stores.searching import Options, Scored, search_stores
from search.vector_stores.services import Chunking, NewFile
from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError, Caller, Page, listing
from webapp.ports.vector_stores import VectorStores


class Stores:
    """Handle `/v1/vector_stores`."""

    async def create(self, caller: Caller, body: Json) -> Json:
        """Create a store with its files."""
        if model := body.get("embedding_model"):
            from webapp.backends.runtime import registry

            await registry.resolve(model, user=caller.user)
        chunking = Chunking.of(body.get("chunking_strategy"))
        described = await source_files.describe(caller, body.get("file_ids") or ())
        files = [NewFile(file, chunking) for file in described.values()]
        return await in_database(_create_store, caller, body, files)

    async def list(self, caller: Caller, page: Page) -> Json:
        """Return a page of stores."""
        found: Json = await in_database(_list_stores, caller.user, page)
        return found

    async def retrieve(self, caller: Caller, store_id: str) -> Json:
        """Return a store."""
        return await in_database(_retrieve_store, caller.user, store_id)

    async def update(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Change a store."""
        return await in_database(_update_store, caller.user, store_id, body)

    async def delete(self, caller: Caller, store_id: str) -> Json:
        """Delete a store."""
        return await in_database(_delete_store, caller.user, store_id)

    async def search(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Search a store."""
        store = await in_database(_searched, caller.user, store_id)
        query = body["query"]
        queries = [query] if isinstance(query, str) else list(query)
        if body.get("rewrite_query"):
            queries = await rewrite_queries(caller.user, store, queries)
        found = await search_stores(caller.user, [store], queries, Options.of(body))
        return {
            "object": "vector_store.search_results.page",
            "search_query": queries,
            "data": [_search_result(scored) for scored in found],
            "has_more": False,
            "next_page": None,
        }


@transaction.atomic
def _create_store(caller: Caller, body: Json, files: Sequence[NewFile]) -> Json:
    """Create the store and record the reply in one transaction."""
    created = _described(services.create_store(owner=caller.user, body=body, files=files))
    caller.record(created)
    return created


def _described(store: Collection) -> Json:
    return store_object(store, count_files(store.documents.all()))


def _list_stores(user: User, page: Page) -> Json:
    stores, more = lookup.stores_page(user, page)
    counts = count_stores(stores)
    return listing([store_object(store, counts[store.pk]) for store in stores], has_more=more)


def _retrieve_store(user: User, store_id: str) -> Json:
    return _described(lookup.store_of(user, store_id))


def _update_store(user: User, store_id: str, body: Json) -> Json:
    store = lookup.own_store(user, store_id)
    services.update_store(store=store, body=body)
    return _described(store)


def _delete_store(user: User, store_id: str) -> Json:
    store = lookup.own_store(user, store_id)
    deleted = {"id": f"{lookup.STORE_PREFIX}{store.pk}", "object": "vector_store.deleted", "deleted": True}
    collections.delete_collection(collection=store)
    return deleted


def _searched(user: User, store_id: str) -> Collection:
    """Return a store that is going to be searched, and note its use."""
    store = _unexpired(lookup.store_of(user, store_id))
    services.touch([store.pk])
    return store


def _unexpired(store: Collection) -> Collection:
    if store.is_expired:
        message = f"The vector store '{lookup.STORE_PREFIX}{store.pk}' has expired. Update its expires_after to use it again."
        raise ApiError(400, message, code="vector_store_expired", param="vector_store_id")
    return store


def _search_result(scored: Scored) -> Json:
    document = scored.result.chunk.document
    return {
        "file_id": document.api_id,
        "filename": document.name,
        "score": scored.score,
        "attributes": document.attributes,
        "content": [{"type": "text", "text": scored.result.chunk.text}],
    }


class StoreFiles:
    """Handle `/v1/vector_stores/{id}/files`."""

    async def create(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Add a file to a store."""
        await in_database(lookup.own_store, caller.user, store_id)
        described = await source_files.describe(caller, [body["file_id"]])
        [file] = _new_files([body], described)
        return await in_database(_create_file, caller, store_id, file)

    async def list(self, caller: Caller, store_id: str, page: Page) -> Json:
        """Return a page of files."""
        found: Json = await in_database(_list_files, caller.user, store_id, page)
        return found

    async def retrieve(self, caller: Caller, store_id: str, file_id: str) -> Json:
        """Return a file."""
        return await in_database(_retrieve_file, caller.user, store_id, file_id)

    async def update(self, caller: Caller, store_id: str, file_id: str, body: Json) -> Json:
        """Replace a file's attributes."""
        return await in_database(_update_file, caller.user, store_id, file_id, body)

    async def delete(self, caller: Caller, store_id: str, file_id: str) -> Json:
        """Remove a file from its store."""
        return await in_database(_delete_file, caller.user, store_id, file_id)

    async def content(self, caller: Caller, store_id: str, file_id: str) -> Json:
        """Return the text of a file."""
        return await in_database(_file_content, caller.user, store_id, file_id)


def _new_files(entries: Iterable[Json], described: dict[str, Json]) -> list[NewFile]:
    """Return the files that a request adds: entries with `file_id`, `attributes`, and `chunking_strategy`."""
    return [
        NewFile(described[entry["file_id"]], Chunking.of(entry.get("chunking_strategy")), entry.get("attributes") or {})
        for entry in entries
    ]


@transaction.atomic
def _create_file(caller: Caller, store_id: str, file: NewFile) -> Json:
    store = _unexpired(lookup.own_store(caller.user, store_id))
    [document] = services.add_files(store=store, files=[file])
    created = file_object(document)
    caller.record(created)
    return created


def _list_files(user: User, store_id: str, page: Page) -> Json:
    documents, more = lookup.files_page(lookup.documents_of(lookup.store_of(user, store_id)), page)
    return listing([file_object(document) for document in documents], has_more=more)


def _retrieve_file(user: User, store_id: str, file_id: str) -> Json:
    return file_object(lookup.document_of(lookup.store_of(user, store_id), file_id))


def _update_file(user: User, store_id: str, file_id: str, body: Json) -> Json:
    document = lookup.document_of(lookup.own_store(user, store_id), file_id)
    document.attributes = body["attributes"] or {}
    document.save(update_fields=["attributes"])
    return file_object(document)


def _delete_file(user: User, store_id: str, file_id: str) -> Json:
    document = lookup.document_of(lookup.own_store(user, store_id), file_id)
    deleted = {"id": document.api_id, "object": "vector_store.file.deleted", "deleted": True}
    collections.delete_document(document=document)
    return deleted


def _file_content(user: User, store_id: str, file_id: str) -> Json:
    document = lookup.document_of(lookup.store_of(user, store_id), file_id)
    text = Document.objects.values_list("text", flat=True).get(pk=document.pk)
    return {
        "object": "vector_store.file_content.page",
        "data": [{"type": "text", "text": text}] if text else [],
        "has_more": False,
        "next_page": None,
    }


class FileBatches:
    """Handle `/v1/vector_stores/{id}/file_batches`."""

    async def create(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Add files to a store together."""
        await in_database(lookup.own_store, caller.user, store_id)
        entries = _batch_entries(body)
        described = await source_files.describe(caller, [entry["file_id"] for entry in entries])
        return await in_database(_create_batch, caller, store_id, _new_files(entries, described))

    async def retrieve(self, caller: Caller, store_id: str, batch_id: str) -> Json:
        """Return a batch."""
        return await in_database(_retrieve_batch, caller.user, store_id, batch_id)

    async def cancel(self, caller: Caller, store_id: str, batch_id: str) -> Json:
        """Cancel the unfinished files of a batch."""
        return await in_database(_cancel_batch, caller.user, store_id, batch_id)

    async def list_files(self, caller: Caller, store_id: str, batch_id: str, page: Page) -> Json:
        """Return a page of a batch's files."""
        found: Json = await in_database(_list_batch_files, caller.user, store_id, batch_id, page)
        return found


def _batch_entries(body: Json) -> list[Json]:
    """Return the files of a new batch: `files` as they are, or `file_ids` with the common attributes and chunking."""
    if body.get("files"):
        return list(body["files"])
    common = {name: body.get(name) for name in ("attributes", "chunking_strategy")}
    return [{"file_id": file_id, **common} for file_id in body.get("file_ids") or ()]


@transaction.atomic
def _create_batch(caller: Caller, store_id: str, files: Sequence[NewFile]) -> Json:
    store = _unexpired(lookup.own_store(caller.user, store_id))
    batch = services.create_batch(store=store, files=files)
    created = batch_object(batch, count_files(batch.documents.all()))
    caller.record(created)
    return created


def _retrieve_batch(user: User, store_id: str, batch_id: str) -> Json:
    batch = lookup.batch_of(lookup.store_of(user, store_id), batch_id)
    return batch_object(batch, count_files(batch.documents.all()))


def _cancel_batch(user: User, store_id: str, batch_id: str) -> Json:
    batch = lookup.batch_of(lookup.own_store(user, store_id), batch_id)
    services.cancel_batch(batch=batch)
    return batch_object(batch, count_files(batch.documents.all()))


def _list_batch_files(user: User, store_id: str, batch_id: str, page: Page) -> Json:
    batch = lookup.batch_of(lookup.store_of(user, store_id), batch_id)
    documents, more = lookup.files_page(lookup.living(batch.documents.all()), page)
    return listing([file_object(document) for document in documents], has_more=more)


HANDLERS = VectorStores(Stores(), StoreFiles(), FileBatches(), DocumentFiles())
