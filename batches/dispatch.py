"""Handing chunks to Celery's workers. The lease in the database decides who works; a task is only a nudge to claim."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.utils import timezone

from batches.leases import free
from batches.models import Batch, BatchChunk

AGAIN = timedelta(seconds=60)
GRACE = timedelta(seconds=20)
"""How long a chunk waits for a worker before this process works on it itself."""


def hand_out(batch: Batch) -> bool:
    """Send a task for each chunk that nobody works on; returns whether workers seem to be there to do them."""
    from batches.tasks import work_on

    now = timezone.now()
    waiting = batch.chunks.filter(free(now), Q(sent_at=None) | Q(sent_at__lt=now - AGAIN), done=False)
    for chunk in waiting.order_by("first"):
        if BatchChunk.objects.filter(pk=chunk.pk, sent_at=chunk.sent_at).update(sent_at=now):
            work_on.delay(str(batch.pk), chunk.pk)
    return _workers_are_there(batch)


def _workers_are_there(batch: Batch) -> bool:
    now = timezone.now()
    at_work = batch.chunks.filter(done=False, lease_until__gt=now)
    if at_work.exists():
        return True
    last = max(
        filter(
            None,
            (
                batch.in_progress_at,
                BatchChunk.objects.filter(batch=batch, done=True).order_by("-sent_at").values_list("sent_at", flat=True).first(),
            ),
        ),
        default=now,
    )
    return now - last < GRACE
