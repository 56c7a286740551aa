"""Let the gateway serve `/v1/vector_stores` without importing the search app.

The search app registers its handlers in `AppConfig.ready()`. Before it calls a handler, the gateway authenticates the caller, and checks
the token's scope, the query, and the body. The handler returns the JSON object of OpenAI's schema. For any other outcome it raises
`ApiError`, or `InputError`, which becomes a 400. Without registered handlers the gateway answers 501.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError, Caller, Content, Page


class StoresApi(Protocol):
    """Handlers of `/v1/vector_stores`."""

    async def create(self, caller: Caller, body: Json) -> Json:
        """Create a store, add the files in `file_ids`, and return the store."""

    async def list(self, caller: Caller, page: Page) -> Json:
        """Return one page of the stores that the caller may read."""

    async def retrieve(self, caller: Caller, store_id: str) -> Json:
        """Return the store."""

    async def update(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Change the fields in `body` and return the store."""

    async def delete(self, caller: Caller, store_id: str) -> Json:
        """Delete the store and return `{"id", "object": "vector_store.deleted", "deleted": true}`."""

    async def search(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Return the passages that answer the body's `query`, best first, as a page of search results."""


class StoreFilesApi(Protocol):
    """Handlers of `/v1/vector_stores/{id}/files`."""

    async def create(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Add a file of `/v1/files` to the store and return the store's file."""

    async def list(self, caller: Caller, store_id: str, page: Page) -> Json:
        """Return one page of the store's files. `page.filters` may hold `filter`, a status."""

    async def retrieve(self, caller: Caller, store_id: str, file_id: str) -> Json:
        """Return the store's file."""

    async def update(self, caller: Caller, store_id: str, file_id: str, body: Json) -> Json:
        """Replace the file's attributes and return the store's file."""

    async def delete(self, caller: Caller, store_id: str, file_id: str) -> Json:
        """Remove the file from the store and return `{"id", "object": "vector_store.file.deleted", "deleted": true}`."""

    async def content(self, caller: Caller, store_id: str, file_id: str) -> Json:
        """Return the text that was read from the file, as a page of parts."""


class FileBatchesApi(Protocol):
    """Handlers of `/v1/vector_stores/{id}/file_batches`."""

    async def create(self, caller: Caller, store_id: str, body: Json) -> Json:
        """Add files to the store together and return the batch."""

    async def retrieve(self, caller: Caller, store_id: str, batch_id: str) -> Json:
        """Return the batch."""

    async def cancel(self, caller: Caller, store_id: str, batch_id: str) -> Json:
        """Cancel the files that are not finished and return the batch."""

    async def list_files(self, caller: Caller, store_id: str, batch_id: str, page: Page) -> Json:
        """Return one page of the batch's files. `page.filters` may hold `filter`, a status."""


class DocumentFilesApi(Protocol):
    """Handlers of `/v1/files/{id}` for documents that were not added through `/v1/files`, or that another user shared."""

    async def retrieve(self, caller: Caller, file_id: str) -> Json:
        """Return the document as a file object."""

    async def content(self, caller: Caller, file_id: str) -> Content:
        """Return the bytes that the document was made from."""


@dataclass(frozen=True, slots=True)
class VectorStores:
    """The sets of handlers."""

    stores: StoresApi
    files: StoreFilesApi
    batches: FileBatchesApi
    documents: DocumentFilesApi


class _Registered:
    handlers: VectorStores | None = None


def register(handlers: VectorStores) -> None:
    """Serve vector stores by `handlers`."""
    _Registered.handlers = handlers


def handlers() -> VectorStores:
    """Return the registered handlers.

    Raises:
        ApiError: 501, no app serves vector stores.
    """
    if _Registered.handlers is None:
        raise ApiError(501, "Vector stores are not available on this server.", type="server_error", code="not_implemented")
    return _Registered.handlers
