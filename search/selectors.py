"""Read collections and documents. Objects that a user may not see are never found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import UUID

from django.db.models import Count, Q, QuerySet, Sum

from search.index import engine
from search.lookups import has_tag
from search.models import Chunk, Collection, Document, Index
from webapp.accounts.models import User
from webapp.builtin import EMBEDDING_MODELS, default_embedding_model
from webapp.patterns.openai.attribute_filters import Matcher

RECENT = 8
MAX_PARAMETERS = 10_000
"""Values that one query may list: SQLite allows 32,766 parameters."""


@dataclass(frozen=True, slots=True)
class Filters:
    """Limits of a search. Empty fields do not limit.

    Attributes:
        collection: the one collection to search.
        collections: the collections to search.
        attributes: tells by a document's attributes whether to search it.
    """

    collection: int | None = None
    kind: str = ""
    tag: str = ""
    since: date | None = None
    collections: tuple[int, ...] = ()
    attributes: Matcher | None = None

    @property
    def by_document(self) -> bool:
        """Return whether a filter looks at documents rather than passages."""
        return bool(self.kind or self.tag or self.since or self.attributes)

    def limited(self, found: QuerySet[Any], field: str = "pk") -> QuerySet[Any]:
        """Return the rows of the collections to search. `field` names a row's collection."""
        if self.collection is not None:
            found = found.filter(**{field: self.collection})
        return found.filter(**{f"{field}__in": self.collections}) if self.collections else found


def collections(user: User) -> QuerySet[Collection]:
    """Return the user's own collections, and those shared with their groups."""
    return Collection.objects.filter(Q(owner=user) | Q(groups__in=user.groups.all())).distinct()


@dataclass(frozen=True, slots=True)
class Contents:
    """What a collection holds, without documents that are being deleted."""

    documents: int = 0
    passages: int = 0
    bytes: int = 0


def collections_with_contents(user: User) -> list[tuple[Collection, Contents]]:
    """Return the collections that the user may read, each with what it holds."""
    found = list(collections(user).select_related("owner"))
    present = Document.objects.filter(collection__in=[each.pk for each in found]).exclude(state=Document.State.DELETING)
    # An index has these columns, so the documents themselves are not read.
    rows = present.order_by().values_list("collection").annotate(documents=Count("*"), passages=Sum("passages"), bytes=Sum("size"))
    contents = {pk: Contents(*sums) for pk, *sums in rows}
    return [(each, contents.get(each.pk, Contents())) for each in found]


def documents(user: User) -> QuerySet[Document]:
    """Return all documents that the user may read, without their texts."""
    present = Document.objects.exclude(state=Document.State.DELETING)
    return present.filter(collection__in=collections(user)).select_related("collection").defer("text")


def recent(user: User) -> list[Document]:
    """Return the documents that were added last."""
    # First their keys, from an index: to sort whole documents, the database would read the texts of all.
    newest = documents(user).order_by("-created_at", "id").values_list("pk", flat=True)[:RECENT]
    return list(documents(user).filter(pk__in=list(newest)).order_by("-created_at", "id"))


def builtin_models(user: User) -> list[str]:
    """Return the built-in models that embed a search of the user."""
    asked = collections(user).filter(serving__rows__gt=0).order_by()
    models = asked.values_list("serving__answered_by", "companion__answered_by").distinct()
    return sorted({model for pair in models for model in pair if model in EMBEDDING_MODELS})


def offers_better_model(collection: Collection) -> bool:
    """Return whether the collection uses a built-in model that is no longer the default, and no other index is being built."""
    serving = collection.serving
    if serving is None or serving.answered_by not in EMBEDDING_MODELS or serving.answered_by == default_embedding_model().name:
        return False
    return not collection.indexes.filter(state=Index.State.BUILDING).exists()


def chunks(user: User, ids: Sequence[int]) -> dict[int, Chunk]:
    """Return those of these passages that the user may read and whose documents are ready."""
    found = Chunk.objects.filter(pk__in=ids, document__state=Document.State.READY, collection__in=collections(user))
    return {chunk.pk: chunk for chunk in found.select_related("document", "collection").defer("document__text")}


def allowed(user: User, filters: Filters) -> list[int]:
    """Return the passages of the documents that match the filters."""
    found = filters.limited(documents(user).order_by(), "collection")
    if filters.kind:
        found = found.filter(kind=filters.kind)
    if filters.since:
        found = found.filter(created_at__date__gte=filters.since)
    if filters.tag:
        found = found.filter(has_tag(filters.tag))
    if filters.attributes is None:
        return list(Chunk.objects.filter(document__in=found.values("pk")).order_by().values_list("pk", flat=True))
    matching = {pk for pk, its in found.values_list("pk", "attributes") if filters.attributes(its)}
    return _passages_of(matching, found)


def _passages_of(matching: set[UUID], found: QuerySet[Document]) -> list[int]:
    """Return the passages of these documents, which are among `found`."""
    if len(matching) <= MAX_PARAMETERS:
        return list(Chunk.objects.filter(document__in=matching).order_by().values_list("pk", flat=True))
    every = Chunk.objects.filter(document__in=found.values("pk")).order_by().values_list("pk", "document")
    return [pk for pk, document in every if document in matching]


@dataclass(frozen=True, slots=True)
class IndexState:
    """The state of an index for its collection's page."""

    index: Index
    serving: bool
    companion: bool
    held: int
    total: int

    @property
    def used(self) -> bool:
        """Return whether searches ask the index."""
        return self.serving or self.companion

    @property
    def label(self) -> str:
        """Return the state in words: "Serving", "Serving, building", "Companion for English", "Ready"."""
        state = self.index.get_state_display()
        if not self.used:
            return state
        role = "Serving" if self.serving else "Companion for English"
        return role if self.index.state == Index.State.READY else f"{role}, {state.lower()}"

    @property
    def badge(self) -> str:
        """Return the state whose color the badge has; an index that is not used has none when it is ready."""
        return self.index.state if self.used or self.index.state != Index.State.READY else ""

    @property
    def percent(self) -> int:
        """Return the share of passages that have a vector, 0 to 100."""
        return min(100, self.held * 100 // self.total) if self.total else 100


def index_states(collection: Collection) -> list[IndexState]:
    """Return the collection's indexes, newest first."""
    total = Chunk.objects.filter(collection=collection).count()
    return [
        IndexState(index, index.pk == collection.serving_id, index.pk == collection.companion_id, engine().count(index), total)
        for index in collection.indexes.order_by("-pk")
    ]
