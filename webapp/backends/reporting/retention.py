"""Sum up new attempts in the background, and delete those that the log no longer keeps."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction

from webapp.backends.models import Attempt
from webapp.backends.reporting import usage_sums
from webapp.core.background import run_tasks
from webapp.core.database import in_database

SUM_SECONDS: Final = 5.0
"""The pause between two looks for new attempts."""
DELETE_SECONDS: Final = 3600.0
AT_ONCE: Final = 5000
"""Attempts summed or deleted in one transaction."""
BREATH_SECONDS: Final = 0.2
"""Pause between two such transactions."""


def oldest_kept(now: datetime) -> datetime | None:
    """Return the time before which attempts are deleted; None if all are kept."""
    days = settings.ATTEMPT_RETENTION_DAYS
    return (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0) if days > 0 else None


@transaction.atomic
def delete_old(before: datetime, *, at_once: int = AT_ONCE) -> int:
    """Delete the oldest summed attempts before a time, `at_once` at most; return how many there were."""
    old = list(Attempt.objects.filter(summed=True, created_at__lt=before).order_by("created_at").values_list("pk", flat=True)[:at_once])
    Attempt.objects.filter(pk__in=old).delete()
    return len(old)


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """Run the background service."""
    async with run_tasks(usage=_sum_up, retention=_delete):
        yield


async def _sum_up() -> None:
    while True:
        full = await in_database(_sum_new, datetime.now(UTC), at_once=AT_ONCE) == AT_ONCE
        await asyncio.sleep(BREATH_SECONDS if full else SUM_SECONDS)


def _sum_new(now: datetime, *, at_once: int) -> int:
    """Sum up new attempts, if there are any: looking for them takes no lock."""
    if not Attempt.objects.filter(summed=None, created_at__lt=now).exists():
        return 0
    return usage_sums.add_up(now, at_once=at_once)


async def _delete() -> None:
    while True:
        now = datetime.now(UTC)
        before = oldest_kept(now)
        full = before is not None and await in_database(delete_old, before, at_once=AT_ONCE) == AT_ONCE
        if not full:
            await in_database(usage_sums.delete_hours, now - usage_sums.HOURS_KEPT)
        await asyncio.sleep(BREATH_SECONDS if full else DELETE_SECONDS)
