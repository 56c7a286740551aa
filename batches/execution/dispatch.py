"""Enqueue chunks for Celery's workers. A task only notifies a worker: the lease in the database decides which worker gets a chunk."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

from django.db.models import F, Max, Q
from django.utils import timezone

from batches.execution.completion import has_workers
from batches.models import Batch, BatchChunk
from webapp.core.leases import free

logger = logging.getLogger("patchbay.batches")
AGAIN = timedelta(seconds=60)
GRACE = timedelta(seconds=20)
"""Time that a chunk waits for a worker before this process works on it itself."""


def enqueue_chunks(batch: Batch) -> bool:
    """Send a task for each chunk without a worker; return whether workers seem to be running."""
    now = timezone.now()
    abandoned = Q(lease_until__gt=F("sent_at"))  # its lease was not renewed, so its worker is gone
    waiting = batch.chunks.filter(free(now), Q(sent_at=None) | Q(sent_at__lt=now - AGAIN) | abandoned, done=False)
    return all(_sent(chunk, now) for chunk in waiting.order_by("first")) and _workers_are_there(batch)


def _sent(chunk: BatchChunk, now: datetime) -> bool:
    """Send a task for a chunk, unless another process did; return False if Redis does not accept it."""
    from kombu.exceptions import OperationalError

    from batches.tasks import work_on

    mine = BatchChunk.objects.filter(pk=chunk.pk)
    if mine.filter(sent_at=chunk.sent_at).update(sent_at=now):
        try:
            work_on.delay(str(chunk.batch_id), chunk.pk)
        except OperationalError as error:
            logger.warning("Redis is away (%s): this process works on the batch itself", error)
            mine.update(sent_at=chunk.sent_at)
            return False
    return True


def _workers_are_there(batch: Batch) -> bool:
    now = timezone.now()
    if has_workers(batch):
        return True
    last = batch.ticks.aggregate(second=Max("second"))["second"]
    result = datetime.fromtimestamp(last, UTC) if last else now
    return now - max(result, batch.in_progress_at or now) < GRACE
