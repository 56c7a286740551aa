"""List the documents of a collection: filters, counts for each state, and pages by key.

Failed documents come first, then those that a worker reads, then all others, each group newest first. A page begins behind the last
document of the page before it, so its cost does not grow with its number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from urllib.parse import urlencode
from uuid import UUID

from django.db.models import Count, QuerySet

from search.lookups import has_tag
from search.models import Collection, Document
from webapp.core.keysets import following, reversed_order

PAGE_SIZE = 100
MAX_NAME_CHARS = 200
State = Document.State
GROUPS: tuple[tuple[str, ...], ...] = ((State.FAILED,), (State.PARSING, State.EMBEDDING), (State.QUEUED, State.READY, State.CANCELLED))
"""States in the order of the list."""
ORDER = ("-created_at", "id")
"""The order inside a group."""
CHOICES = (
    ("failed", "Failed", GROUPS[0]),
    ("reading", "In progress", Document.UNDER_WAY),
    ("ready", "Ready", (State.READY,)),
    ("cancelled", "Cancelled", (State.CANCELLED,)),
)
"""The states that the page offers as filters: value, label, states."""


@dataclass(frozen=True, slots=True)
class ListFilters:
    """Limits of the list. Empty fields do not limit.

    Attributes:
        name: a part of the document's name, in any case.
        state: a value of CHOICES.
    """

    name: str = ""
    state: str = ""
    kind: str = ""
    tag: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> ListFilters:
        """Return the filters of a query string; values that cannot match anything are ignored."""
        state = given.get("state", "")
        known = state if any(state == value for value, _, _ in CHOICES) else ""
        return cls(_text(given, "name", MAX_NAME_CHARS).strip(), known, _text(given, "kind", 12), _text(given, "tag", 40))

    def __bool__(self) -> bool:
        return bool(self.name or self.state or self.kind or self.tag)

    @property
    def address(self) -> str:
        """Return the query string, without a question mark."""
        fields = {"name": self.name, "state": self.state, "kind": self.kind, "tag": self.tag}
        return urlencode({name: value for name, value in fields.items() if value})

    def with_state(self, state: str) -> ListFilters:
        """Return the same filters with another state."""
        return replace(self, state=state)

    def matching(self, collection: Collection) -> QuerySet[Document]:
        """Return the documents that match, without their texts and in no order."""
        found = self._beside_state(collection)
        states = next((states for value, _, states in CHOICES if value == self.state), None)
        return found if states is None else found.filter(state__in=states)

    def _beside_state(self, collection: Collection) -> QuerySet[Document]:
        found = present(collection)
        if self.name:
            found = found.filter(name__icontains=self.name)
        if self.kind:
            found = found.filter(kind=self.kind)
        return found.filter(has_tag(self.tag)) if self.tag else found

    def counts(self, collection: Collection) -> dict[str, int]:
        """Return the number of documents in each state, as if no state was chosen."""
        rows = self._beside_state(collection).values_list("state").annotate(number=Count("*")).order_by()
        return dict(rows)


def _text(given: Mapping[str, str], name: str, limit: int) -> str:
    return given.get(name, "").replace("\0", "")[:limit]


def present(collection: Collection) -> QuerySet[Document]:
    """Return the documents of a collection that are not being deleted."""
    return Document.objects.filter(collection=collection).exclude(state=State.DELETING).defer("text").order_by()


@dataclass(frozen=True, slots=True)
class Key:
    """A place in the list: the group of states, and the document's time and id."""

    group: int
    created_at: datetime
    id: UUID

    @classmethod
    def of(cls, document: Document) -> Key:
        """Return the place of a document."""
        group = next(number for number, states in enumerate(GROUPS) if document.state in states)
        return cls(group, document.created_at, document.pk)

    @classmethod
    def read(cls, text: str) -> Key | None:
        """Return the place that `str` wrote; None for any other text."""
        try:
            group, microseconds, id_ = text.split("-")
            moment = datetime.fromtimestamp(int(microseconds) / 1_000_000, UTC)
            return cls(int(group), moment, UUID(id_)) if int(group) in range(len(GROUPS)) else None
        except (ValueError, OverflowError, OSError):
            return None

    def __str__(self) -> str:
        seconds, microseconds = divmod(self.created_at - datetime.fromtimestamp(0, UTC), _SECOND)
        return f"{self.group}-{seconds * 1_000_000 + microseconds.microseconds}-{self.id.hex}"


_SECOND = datetime.fromtimestamp(1, UTC) - datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class Page:
    """Documents, and the places from which the neighboring pages are read; None where there are none."""

    documents: list[Document]
    newer: Key | None = None
    older: Key | None = None


def read_page(found: QuerySet[Document], *, after: Key | None = None, before: Key | None = None, size: int = PAGE_SIZE) -> Page:
    """Return the page behind a place, or the one before a place; without both, the first."""
    backward = before is not None and after is None
    key = before if backward else after
    rows = _rows(found, key, size + 1, backward=backward)
    more, rows = len(rows) > size, rows[:size]
    if backward:
        rows.reverse()
        if not more:  # the first page may have grown
            return read_page(found, size=size) if key else Page(rows)
    if not rows:
        return read_page(found, size=size) if key else Page([])
    newer = Key.of(rows[0]) if (more if backward else key is not None) else None
    older = Key.of(rows[-1]) if (backward or more) else None
    return Page(rows, newer, older)


def _rows(found: QuerySet[Document], key: Key | None, count: int, *, backward: bool) -> list[Document]:
    rows: list[Document] = []
    groups = range(len(GROUPS))
    for number in reversed(groups) if backward else groups:
        if key and (number > key.group if backward else number < key.group):
            continue
        order = reversed_order(ORDER) if backward else ORDER
        group = found.order_by(*order)
        if key and number == key.group:
            group = group.filter(following(order, (key.created_at, key.id)))
        rows += _of_states(group, GROUPS[number], count - len(rows), backward=backward)
        if len(rows) >= count:
            break
    return rows


def _of_states(ordered: QuerySet[Document], states: Sequence[str], count: int, *, backward: bool) -> list[Document]:
    """Return the first documents in any of these states. Each state is read by itself, because an index has its documents in order."""
    rows = [document for state in states for document in ordered.filter(state=state)[:count]]
    rows.sort(key=lambda document: document.pk, reverse=backward)
    rows.sort(key=lambda document: document.created_at, reverse=not backward)
    return rows[:count]


def kinds(collection: Collection) -> list[str]:
    """Return the kinds of the collection's documents."""
    return sorted(present(collection).exclude(kind="").values_list("kind", flat=True).distinct())


def tags(collection: Collection) -> list[str]:
    """Return the tags of the collection's documents."""
    lists = present(collection).exclude(tags=[]).values_list("tags", flat=True).distinct()
    return sorted({tag for its in lists for tag in its})
