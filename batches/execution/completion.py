"""End a batch: settle unsent rows, create the output files, and make the counts add up."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F
from django.utils import timezone

from batches.models import Batch, BatchChunk, BatchRow, File
from batches.results import outputs
from webapp.core.leases import durable, renew

State, Status = BatchRow.State, Batch.Status


def settle_open(*, batch: Batch, state: BatchRow.State) -> int:
    """Mark unsent rows as cancelled or expired. They count as failed, so that the counts add up to the total."""
    with durable():
        # Lock the rows in the same order as the workers, to avoid a deadlock.
        BatchChunk.objects.filter(batch=batch).update(done=True, owner="", lease_until=None, fence=F("fence") + 1)
        now = timezone.now()
        settled = batch.rows.filter(state=State.PENDING).update(state=state, error_code=outputs.UNSENT[state][0], finished_at=now)
        renew(batch)
        Batch.objects.filter(pk=batch.pk).update(failed=F("failed") + settled)
    return settled


def finish(*, batch: Batch, status: Batch.Status) -> None:
    """Create the output and error files, and end the batch with `status`."""
    if status == Status.COMPLETED:
        _begin_finalizing(batch)
    sizes = {good: outputs.size(batch, good=good) for good in (True, False)}
    with durable():
        renew(batch)
        now = timezone.now()
        output, errors = (_file(batch, good=good, size=sizes[good], now=now) for good in (True, False))
        unsent = batch.rows.filter(state__in=outputs.UNSENT).count() if status != Status.COMPLETED else 0
        Batch.objects.filter(pk=batch.pk).update(
            status=status,
            output_file=output,
            error_file=errors,
            unsent=unsent,
            paused="",
            webhook_due_at=now if batch.webhook_url else None,
            owner="",
            lease_until=None,
            **{f"{status}_at": now},
        )


def _begin_finalizing(batch: Batch) -> None:
    with durable():
        renew(batch)
        now = timezone.now()
        Batch.objects.filter(pk=batch.pk, status__in=(Status.IN_PROGRESS, Status.CANCELLING)).update(
            status=Status.FINALIZING, finalizing_at=now
        )


def _file(batch: Batch, *, good: bool, size: int, now: datetime) -> File | None:
    """Create the file object of the successful or the failed rows; None if there are none, as OpenAI does."""
    if not size:
        return None
    lasts = batch.output_expires_seconds
    return File.objects.create(
        user=batch.user,
        filename=f"{batch.api_id}_{'output' if good else 'error'}.jsonl",
        purpose="batch_output",
        bytes=size,
        content=File.Content.OUTPUT if good else File.Content.ERRORS,
        created_at=now,
        expires_at=now + timedelta(seconds=lasts) if lasts else None,
    )


def has_open_chunks(batch: Batch) -> bool:
    """Return whether a chunk is waiting or running."""
    return batch.chunks.filter(done=False).exists()


def has_workers(batch: Batch) -> bool:
    """Return whether a worker holds one of the chunks now."""
    return batch.chunks.filter(done=False, lease_until__gt=timezone.now()).exists()
