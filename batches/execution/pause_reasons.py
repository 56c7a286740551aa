"""Record the reason for the pause of a batch. This process keeps it in memory too, because a full disk cannot store it."""

from __future__ import annotations

import contextlib
import logging
from uuid import UUID

from django.db import Error
from django.utils import timezone

from batches.models import Batch
from webapp.core.database import DatabaseThread

logger = logging.getLogger("patchbay.batches")
_here: dict[UUID, str] = {}


def reason(batch: Batch) -> str:
    """Return the reason for the pause; empty if the batch runs."""
    return (_here.get(batch.pk) or batch.paused) if batch.is_active else ""


def text(error: Error) -> str:
    """Return a database error as text for users."""
    said = str(error).lower()
    if "full" in said or "no space" in said or "enospc" in said:
        return "The disk is full. Free some space: the batch then continues by itself, and no answer is lost."
    if "locked" in said:
        return "The database is busy. The batch continues by itself."
    return "The database is not reachable. The batch continues by itself when it is back."


async def pause(database: DatabaseThread, batch: Batch, error: Error) -> None:
    """Record that nothing can be written: in this process at once, and in the database if possible."""
    why = text(error)
    if _here.get(batch.pk) != why:
        logger.warning("batch %s pauses: %s (%s)", batch.api_id, why, type(error).__name__)
    _here[batch.pk] = why
    with contextlib.suppress(Error):  # the database is what fails
        await database.run(note, batch.pk, why)


def note(batch_id: UUID, why: str) -> None:
    """Write the reason to the batch."""
    Batch.objects.filter(pk=batch_id).exclude(paused=why).update(paused=why, paused_at=timezone.now())


def over(batch: Batch) -> None:
    """Clear the pause in this process."""
    _here.pop(batch.pk, None)
