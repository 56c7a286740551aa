"""Why a batch sends nothing at the moment. Kept in this process too: when the disk is full, no reason can be written to it."""

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
    """Why the batch pauses; empty while it does not."""
    return (_here.get(batch.pk) or batch.paused) if batch.is_active else ""


def text(error: Error) -> str:
    """A database error as people should read it."""
    said = str(error).lower()
    if "full" in said or "no space" in said or "enospc" in said:
        return "The disk is full. Free some space: the batch then continues by itself, and no answer is lost."
    if "locked" in said:
        return "The database is busy. The batch continues by itself."
    return "The database is not reachable. The batch continues by itself when it is back."


async def pause(database: DatabaseThread, batch: Batch, error: Error) -> None:
    """Say that nothing can be written, here at once and in the database if it can take that."""
    why = text(error)
    if _here.get(batch.pk) != why:
        logger.warning("batch %s pauses: %s (%s)", batch.api_id, why, type(error).__name__)
    _here[batch.pk] = why
    with contextlib.suppress(Error):  # the very thing that fails
        await database.run(note, batch.pk, why)


def note(batch_id: UUID, why: str) -> None:
    """Write the reason to the batch."""
    Batch.objects.filter(pk=batch_id).exclude(paused=why).update(paused=why, paused_at=timezone.now())


def over(batch: Batch) -> None:
    """Writing works again here."""
    _here.pop(batch.pk, None)
