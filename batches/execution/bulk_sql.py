"""Execute statements over many rows at once. The ORM would build an object per row, thousands of times per second."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from batches.models import BatchRow
from webapp.core import bulk

SETTLE_ROW = """
UPDATE batches_batchrow SET state = %s, status_code = %s, error_code = %s, error_message = %s, backend = %s, model = %s, tries = %s,
    prompt_tokens = %s, completion_tokens = %s, cost = %s, duration_ms = %s, finished_at = %s, attempts = %s, response = %s
WHERE number = %s AND batch_id = %s AND state = 0
"""
ADD_TICK = """
INSERT INTO batches_batchtick (second, ok, failed, sum_ms, max_ms, tokens, batch_id) VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (batch_id, second) DO UPDATE SET
    ok = batches_batchtick.ok + excluded.ok,
    failed = batches_batchtick.failed + excluded.failed,
    sum_ms = batches_batchtick.sum_ms + excluded.sum_ms,
    max_ms = CASE WHEN excluded.max_ms > batches_batchtick.max_ms THEN excluded.max_ms ELSE batches_batchtick.max_ms END,
    tokens = batches_batchtick.tokens + excluded.tokens
"""

ADD_TO_COUNTS = """
UPDATE batches_batch SET completed = completed + %s, failed = failed + %s, prompt_tokens = prompt_tokens + %s,
    completion_tokens = completion_tokens + %s, cached_tokens = cached_tokens + %s, reasoning_tokens = reasoning_tokens + %s,
    cost = coalesce(cost + %s, %s, cost), paused = ''
WHERE id = %s
"""


def put_up_rows(batch_id: UUID, rows: Iterable[tuple[int, str, int, int]]) -> None:
    """Insert (number, custom_id, offset, length) as open rows."""
    bulk.insert(BatchRow, ("batch_id", "number", "custom_id", "offset", "length"), ((batch_id, *row) for row in rows))


def open_numbers(batch_id: UUID, first: int, last: int) -> set[int]:
    """Return the numbers of the rows without a result, from `first` to `last`."""
    rows = BatchRow.objects.filter(batch_id=batch_id, state=BatchRow.State.PENDING, number__range=(first, last))
    return {number for (number,) in bulk.fetch(rows.order_by().values_list("number"))}


def settle_rows(batch_id: UUID, rows: Iterable[tuple[Any, ...]]) -> None:
    """Write results over open rows. Each has the columns of `SETTLE_ROW`, with the number last."""
    bulk.execute(SETTLE_ROW, ((*row, batch_id) for row in rows))


def add_ticks(batch_id: UUID, ticks: Iterable[tuple[int, int, int, float, float, int]]) -> None:
    """Add (second, ok, failed, sum_ms, max_ms, tokens) to the charts' points."""
    bulk.execute(ADD_TICK, ((*tick, batch_id) for tick in ticks))


def add_to_counts(batch_id: UUID, completed: int, failed: int, *tokens: int, cost: Decimal | None) -> None:
    """Add finished rows to the counts of a batch and end its pause.

    `tokens` has the order of `ADD_TO_COUNTS`. A cost of None changes nothing.
    """
    bulk.execute(ADD_TO_COUNTS, [(completed, failed, *tokens, cost, cost, batch_id)])
