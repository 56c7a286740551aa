"""Lease a row to one worker. The worker renews the lease; when it expires, another worker continues."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils import timezone

from webapp.core.background import run_tasks
from webapp.core.database import in_database

LEASE: timedelta = settings.LEASE
RENEW_SECONDS = LEASE.total_seconds() / 3


def free() -> Q:
    """Match rows without a worker."""
    return Q(leased_until=None) | Q(leased_until__lt=timezone.now())


def take(rows: QuerySet[Any], **changes: Any) -> bool:
    """Lease the row, unless another worker took it meanwhile."""
    return bool(rows.filter(free()).update(leased_until=timezone.now() + LEASE, **changes))


@asynccontextmanager
async def renewed(row: QuerySet[Any]) -> AsyncGenerator[None, None]:
    """Renew the lease while the context is open."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            await in_database(row.update, leased_until=timezone.now() + LEASE)

    async with run_tasks(lease=renew):
        yield
