"""Count the documents of a search by collection, kind, tag, and date, so that a click narrows the search."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any

from django.utils import timezone

from search.models import Chunk
from search.selectors import Filters

MAX_VALUES = 8
PERIODS = (("Past week", 7), ("Past month", 30), ("Past year", 365))
"""The periods by the date at which a document was added: label, days."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value of a facet. `filters` are those of the search with this value, or without it if it is chosen."""

    label: str
    number: int
    filters: Filters
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Facet:
    """A property of documents with the values that the found ones have, the most frequent first."""

    label: str
    values: list[Value]


def count_facets(candidates: Sequence[int], filters: Filters) -> list[Facet]:
    """Return the facets of the documents that hold these passages, without facets that cannot narrow the search.

    The numbers are those of the ranked passages, at most some hundred: a ranking by meaning has no end at which to stop counting.
    """
    documents = _documents(candidates)
    found = [
        Facet("Collection", list(_collections(documents, filters))),
        Facet("Kind", list(_kinds(documents, filters))),
        Facet("Tag", list(_tags(documents, filters))),
        Facet("Added", list(_periods(documents, filters, timezone.now().date()))),
    ]
    return [facet for facet in found if len(facet.values) > 1 or any(value.chosen for value in facet.values)]


def _documents(candidates: Sequence[int]) -> list[dict[str, Any]]:
    """Return one row for each document that holds one of these passages."""
    fields = ("document_id", "collection_id", "collection__name", "document__kind", "document__tags", "document__created_at")
    rows = Chunk.objects.filter(pk__in=candidates).order_by().values(*fields)
    return list({row["document_id"]: row for row in rows}.values())


def _collections(documents: Sequence[dict[str, Any]], filters: Filters) -> Iterator[Value]:
    names = {row["collection_id"]: row["collection__name"] for row in documents}
    for key, number in Counter(row["collection_id"] for row in documents).most_common(MAX_VALUES):
        chosen = filters.collection == key
        yield Value(names[key], number, replace(filters, collection=None if chosen else key), chosen)


def _kinds(documents: Sequence[dict[str, Any]], filters: Filters) -> Iterator[Value]:
    numbers = Counter(row["document__kind"] for row in documents if row["document__kind"])
    for kind, number in numbers.most_common(MAX_VALUES):
        chosen = kind == filters.kind
        yield Value(kind, number, replace(filters, kind="" if chosen else kind), chosen)


def _tags(documents: Sequence[dict[str, Any]], filters: Filters) -> Iterator[Value]:
    """Yield the chosen tag alone, or the most frequent tags: documents with the chosen tag have others, too."""
    numbers = Counter(tag for row in documents for tag in row["document__tags"])
    if filters.tag:
        yield Value(filters.tag, numbers[filters.tag], replace(filters, tag=""), chosen=True)
        return
    for tag, number in numbers.most_common(MAX_VALUES):
        yield Value(tag, number, replace(filters, tag=tag))


def _periods(documents: Sequence[dict[str, Any]], filters: Filters, today: date) -> Iterator[Value]:
    if filters.since:
        yield Value(f"Since {filters.since:%B %-d, %Y}", len(documents), replace(filters, since=None), chosen=True)
        return
    added = [row["document__created_at"].date() for row in documents]
    for label, days in PERIODS:
        since = today - timedelta(days=days)
        number = sum(day >= since for day in added)
        if 0 < number < len(added):
            yield Value(label, number, replace(filters, since=since))
