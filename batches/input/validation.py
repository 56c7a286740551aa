"""Turn an uploaded file into rows and chunks, or into a list of all its errors."""

from __future__ import annotations

from collections.abc import Sequence

from django.utils import timezone

from batches.execution import bulk_sql
from batches.input.execution_plan import Plan
from batches.models import Batch, BatchChunk, File
from webapp.core.leases import durable, renew
from webapp.patterns.batch import input_file as jsonl
from webapp.patterns.batch.input_file import LineError, Validated
from webapp.patterns.types import Json

MIN_CHUNK, MAX_CHUNK = 32, 500
CHUNKS = 64
MAX_ERRORS = 1000


def validate(file: File | None, *, endpoint: str = "") -> Validated:
    """Return the lines and all errors of an input file, in one pass. CPU-bound: call it off the event loop."""
    if file is None or not file.path.exists():
        return Validated(errors=[LineError("input_deleted", "The input file was deleted.")], error_count=1)
    with file.path.open("rb") as source:
        return jsonl.validate(source, endpoint=endpoint, max_errors=MAX_ERRORS)


def reject_input(*, batch: Batch, errors: Sequence[LineError], count: int) -> None:
    """End a batch whose input is invalid. Nothing was sent."""
    listed: list[Json] = [error.as_json() for error in errors]
    if count > len(listed):
        more = f"and {count - len(listed)} errors more"
        listed.append(LineError("too_many_errors", f"The first {len(listed)} errors are listed, {more}.").as_json())
    with durable():
        renew(batch)
        now = timezone.now()
        Batch.objects.filter(pk=batch.pk, status=Batch.Status.VALIDATING).update(
            status=Batch.Status.FAILED, errors=listed, failed_at=now, webhook_due_at=now if batch.webhook_url else None
        )


def start_batch(*, batch: Batch, checked: Validated, plan: Plan) -> None:
    """Create the rows and chunks and start the batch, in one transaction: after a crash the batch is either validating or ready."""
    with durable():
        renew(batch)
        if not Batch.objects.filter(pk=batch.pk, status=Batch.Status.VALIDATING).exists():
            return
        bulk_sql.put_up_rows(batch.pk, ((line.number, line.custom_id, line.offset, line.length) for line in checked.lines))
        if plan.executor == Batch.Executor.LOCAL:
            _put_up_chunks(batch, len(checked.lines))
        now = timezone.now()
        Batch.objects.filter(pk=batch.pk).update(
            status=Batch.Status.IN_PROGRESS,
            in_progress_at=now,
            due_at=now,
            endpoint=checked.endpoint,
            model=checked.model,
            total=len(checked.lines),
            executor=plan.executor,
            backend=plan.backend,
            remote_model=plan.model,
            estimate=plan.estimate,
        )


def chunk_rows(total: int) -> int:
    """Return the number of rows per chunk: small enough for many workers to share, and large enough to keep claims cheap."""
    return min(MAX_CHUNK, max(MIN_CHUNK, total // CHUNKS))


def _put_up_chunks(batch: Batch, total: int) -> None:
    size = chunk_rows(total)
    BatchChunk.objects.bulk_create(
        BatchChunk(batch=batch, first=first, last=min(first + size - 1, total)) for first in range(1, total + 1, size)
    )
