"""Compare two runs row by row: the answers to the same custom_id, side by side."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from django.db.models import Avg, QuerySet

from batches.models import Batch, BatchRow
from batches.results import outputs

PAGE: Final = 25
SCANNED: Final = 5000
"""Rows that one request looks at while it searches for differences."""
CANDIDATES: Final = 50


@dataclass(frozen=True, slots=True)
class Side:
    """A row's result. `text` is the answer, or the error where there is none."""

    row: BatchRow
    text: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of the first batch and the row of the second one with the same custom_id; None where it has none."""

    left: Side
    right: Side | None

    @property
    def same(self) -> bool:
        """Return whether both have the same answer, apart from white space."""
        return self.right is not None and self.left.text.split() == self.right.text.split()


@dataclass(frozen=True, slots=True)
class Page:
    """Some pairs, and the number after which the next page begins; None for the last page."""

    pairs: list[Pair]
    next: int | None


def others(batch: Batch) -> QuerySet[Batch]:
    """Return the user's other batches for the same endpoint, newest first."""
    return Batch.objects.filter(user=batch.user_id, endpoint=batch.endpoint).exclude(pk=batch.pk).select_related("input_file")[:CANDIDATES]


def compare(batch: Batch, other: Batch, *, after: int = 0, only_different: bool = False) -> Page:
    """Return the next pairs of rows after a row number, in the order of the first batch."""
    found: list[Pair] = []
    last = after
    for pair in islice(_pairs(batch, other, after), SCANNED):
        last = pair.left.row.number
        if not (only_different and pair.same):
            found.append(pair)
        if len(found) == PAGE:
            break
    has_more = batch.rows.filter(number__gt=last).exists()
    return Page(found, last if has_more else None)


def _pairs(batch: Batch, other: Batch, after: int) -> Iterator[Pair]:
    while rows := list(batch.rows.filter(number__gt=after).order_by("number")[: PAGE * 4]):
        after = rows[-1].number
        known = {row.custom_id: row for row in other.rows.filter(custom_id__in=[row.custom_id for row in rows])}
        for row in rows:
            match = known.get(row.custom_id)
            yield Pair(_side(row), _side(match) if match else None)


def _side(row: BatchRow) -> Side:
    return Side(row, outputs.answer_of(row) or row.error_message)


@dataclass(frozen=True, slots=True)
class Summary:
    """A batch with the mean time of its rows in milliseconds; None before the first result."""

    batch: Batch
    mean_ms: float | None


def summary(batch: Batch) -> Summary:
    """Return the figures of a batch for the comparison."""
    return Summary(batch, batch.rows.aggregate(mean=Avg("duration_ms"))["mean"])
