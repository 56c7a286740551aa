"""Find stores, their files, and their batches. Objects that a user may not see are never found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet

from search import selectors
from search.models import Collection, Document, FileBatch
from webapp.accounts.models import User
from webapp.core.keysets import following, reversed_order
from webapp.ports.files_and_batches import ApiError, Page

STORE_PREFIX, FILE_PREFIX, BATCH_PREFIX = "vs_", "file-", "vsfb_"
MAX_DIGITS = 17
QUOTED_CHARS = 100
STATES = {
    "in_progress": Document.UNDER_WAY,
    "completed": (Document.State.READY,),
    "failed": (Document.State.FAILED,),
    "cancelled": (Document.State.CANCELLED,),
}
"""The states of a document by the status of a file."""

M = TypeVar("M", bound=Model)
Place = tuple[Any, ...]


def find_store(user: User, store_id: str) -> Collection | None:
    """Return the collection with this id (`vs_` and its number), or else with this name; None if the user may not read it."""
    number = store_number(store_id)
    readable = selectors.collections(user)
    return readable.filter(pk=number).first() if number is not None else readable.filter(name__iexact=store_id).first()


def store_of(user: User, store_id: str) -> Collection:
    """Return the store.

    Raises:
        ApiError: 404, there is none that the user may read.
    """
    found = find_store(user, store_id)
    if found is None:
        raise ApiError(404, f"No vector store found with id '{store_id[:QUOTED_CHARS]}'.", param="vector_store_id")
    return found


def own_store(user: User, store_id: str) -> Collection:
    """Return a store that the user may change.

    Raises:
        ApiError: 404, there is none that the user may read; 403, another user shared it.
    """
    found = store_of(user, store_id)
    if found.owner_id != user.pk:
        message = "This vector store is shared with you. Only its owner may change it."
        raise ApiError(403, message, type="permission_error", code="not_owner", param="vector_store_id")
    return found


def store_number(store_id: str) -> int | None:
    """Return the number in a store's id; None for a text that is not an id."""
    digits = store_id.removeprefix(STORE_PREFIX)
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS else None


def parse_uuid(text: str, prefix: str) -> UUID | None:
    """Return the UUID of an id with this prefix; None for any other text."""
    digits = text.removeprefix(prefix)
    try:
        return UUID(hex=digits) if text.startswith(prefix) and len(digits) == 32 else None
    except ValueError:
        return None


def documents_of(store: Collection) -> QuerySet[Document]:
    """Return the documents of a store, without their texts."""
    return living(store.documents.all())


def living(documents: QuerySet[Document]) -> QuerySet[Document]:
    """Return those of the documents that are not being deleted, without their texts."""
    return documents.exclude(state=Document.State.DELETING).defer("text")


def document_of(store: Collection, file_id: str) -> Document:
    """Return the document of a store with this id of a file.

    Raises:
        ApiError: 404.
    """
    key = parse_uuid(file_id, FILE_PREFIX)
    found = documents_of(store).filter(with_file_ids([key])).first() if key else None
    if found is None:
        message = f"No file found with id '{file_id[:QUOTED_CHARS]}' in vector store '{STORE_PREFIX}{store.pk}'."
        raise ApiError(404, message, param="file_id")
    return found


def with_file_ids(keys: list[UUID]) -> Q:
    """Match documents by the id of the file that they were made from, or by their own where they were added in another way."""
    return Q(file_id__in=keys) | Q(file_id=None, pk__in=keys)


def batch_of(store: Collection, batch_id: str) -> FileBatch:
    """Return a batch of a store.

    Raises:
        ApiError: 404.
    """
    key = parse_uuid(batch_id, BATCH_PREFIX)
    found = store.file_batches.filter(pk=key).first() if key else None
    if found is None:
        message = f"No file batch found with id '{batch_id[:QUOTED_CHARS]}' in vector store '{STORE_PREFIX}{store.pk}'."
        raise ApiError(404, message, param="batch_id")
    return found


def stores_page(user: User, page: Page) -> tuple[list[Collection], bool]:
    """Return one page of the stores that the user may read, and whether there are more."""
    readable = Collection.objects.filter(pk__in=selectors.collections(user).order_by().values("pk"))

    def place(cursor: str) -> Place | None:
        number = store_number(cursor)
        return None if number is None else (number,)

    return _page(readable, page, ("pk",), place)


def files_page(documents: QuerySet[Document], page: Page) -> tuple[list[Document], bool]:
    """Return one page of documents, and whether there are more."""
    if status := page.filters.get("filter"):
        documents = documents.filter(state__in=STATES[status])

    def place(cursor: str) -> Place | None:
        key = parse_uuid(cursor, FILE_PREFIX)
        return documents.filter(with_file_ids([key])).values_list("created_at", "pk").first() if key else None

    return _page(documents, page, ("created_at", "pk"), place)


def _page(rows: QuerySet[M], page: Page, fields: tuple[str, ...], place: Callable[[str], Place | None]) -> tuple[list[M], bool]:
    """Return the rows between the cursors, in the page's order. A cursor that names nothing gives an empty page."""
    order = reversed_order(fields) if page.order == "desc" else fields
    for cursor, direction in ((page.after, order), (page.before, reversed_order(order))):
        if cursor is not None:
            found = place(cursor)
            if found is None:
                return [], False
            rows = rows.filter(following(direction, found))
    backward = page.before is not None and page.after is None
    taken = list(rows.order_by(*(reversed_order(order) if backward else order))[: page.limit + 1])
    shown = taken[: page.limit]
    return (shown[::-1] if backward else shown), len(taken) > page.limit
