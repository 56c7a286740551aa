"""Store answers: a row's result and its done mark, the counts, the chart points, and the lease, in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.utils import timezone

from batches.execution import bulk_sql
from batches.models import Batch, BatchChunk, BatchRow
from webapp.core.leases import durable, renew
from webapp.patterns import sanitize
from webapp.patterns.types import Usage

State = BatchRow.State


@dataclass(slots=True)
class RowResult:
    """The result of one row. `response` is the unchanged body, JSON on one line; empty without a response."""

    number: int
    state: int
    status_code: int | None = None
    error_code: str = ""
    error_message: str = ""
    backend: str = ""
    model: str = ""
    tries: int = 0
    usage: Usage = field(default_factory=Usage)
    cost: float | None = None
    duration_ms: float | None = None
    attempts: str = ""
    response: str = ""
    finished_at: datetime = field(default_factory=timezone.now)


def commit(*, work: Batch | BatchChunk, results: Sequence[RowResult], finished: bool = False) -> None:
    """Store `results` durably and renew the lease. `finished` marks the chunk as done and releases the lease.

    Rows that already have a result stay unchanged, so that nothing is counted twice.

    Raises:
        LeaseLost: another worker holds the chunk now; nothing was written.
    """
    batch_id = work.pk if isinstance(work, Batch) else work.batch_id
    with durable():
        renew(work)
        kept = _write(batch_id, results)
        if kept:
            _count(batch_id, kept)
            _chart(batch_id, kept)
        if finished and isinstance(work, BatchChunk):
            BatchChunk.objects.filter(pk=work.pk).update(done=True, owner="", lease_until=None)


def _write(batch_id: UUID, results: Sequence[RowResult]) -> Sequence[RowResult]:
    """Settle the rows that are still open, and return their results."""
    if not results:
        return results
    numbers = [result.number for result in results]
    still_open = bulk_sql.open_numbers(batch_id, min(numbers), max(numbers))
    if not still_open.issuperset(numbers):
        results = [result for result in results if result.number in still_open]
    bulk_sql.settle_rows(batch_id, map(_values, results))
    return results


def _values(result: RowResult) -> tuple[Any, ...]:
    """Return the columns of `bulk_sql.settle_rows`, with the row's number last."""
    return (
        result.state,
        result.status_code,
        result.error_code and sanitize.text(result.error_code)[:100],
        result.error_message and sanitize.text(result.error_message),
        result.backend,
        result.model,
        result.tries,
        result.usage.prompt_tokens,
        result.usage.completion_tokens,
        None if result.cost is None else Decimal(f"{result.cost:.8f}"),
        result.duration_ms,
        result.finished_at,
        result.attempts,
        result.response,
        result.number,
    )


def _count(batch_id: UUID, results: Sequence[RowResult]) -> None:
    usages = [result.usage for result in results]
    costs = [result.cost for result in results if result.cost is not None]
    good = _good(results)
    bulk_sql.add_to_counts(
        batch_id,
        good,
        len(results) - good,
        sum([usage.prompt_tokens for usage in usages]),
        sum([usage.completion_tokens for usage in usages]),
        sum([usage.cached_tokens for usage in usages]),
        sum([usage.reasoning_tokens for usage in usages]),
        cost=Decimal(f"{sum(costs):.8f}") if costs else None,
    )


def _chart(batch_id: UUID, results: Sequence[RowResult]) -> None:
    seconds: dict[int, list[RowResult]] = defaultdict(list)
    for result in results:
        seconds[int(result.finished_at.timestamp())].append(result)
    bulk_sql.add_ticks(batch_id, [(second, *_tick(rows)) for second, rows in sorted(seconds.items())])


def _tick(rows: Sequence[RowResult]) -> tuple[int, int, float, float, int]:
    good = _good(rows)
    times = [row.duration_ms or 0.0 for row in rows]
    return good, len(rows) - good, sum(times), max(times), sum([row.usage.total_tokens for row in rows])


def _good(rows: Sequence[RowResult]) -> int:
    return [row.state for row in rows].count(State.OK)
