"""Lease documents, indexes, and sources to one worker each. When a lease expires, another worker continues."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cache
from typing import Any

from django.db.models import F, Model

from search.models import Document, Index, Source
from webapp.core import leases
from webapp.core.background import run_tasks
from webapp.core.database import in_database
from webapp.core.leases import HEARTBEAT_SECONDS, LeaseLost

logger = logging.getLogger("patchbay.search")
RELEASED: dict[str, Any] = {"owner": "", "lease_until": None}
"""The fields of a row that no worker holds."""
REVOKED: dict[str, Any] = {**RELEASED, "fence": F("fence") + 1}
"""The fields of a row that is taken from its worker, whose writes change nothing from then on."""
worker = cache(leases.this_worker)
"""The name of this process's workers."""


@asynccontextmanager
async def renewed(work: Model) -> AsyncGenerator[None, None]:
    """Renew the lease while the context is open. When another worker has claimed the row, the writes of this one change nothing."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            try:
                await in_database(leases.renew, work)
            except LeaseLost:
                logger.info("another worker has taken over %s %s", work._meta.verbose_name, work.pk)
                return

    async with run_tasks(lease=renew):
        yield


def release_dead() -> int:
    """Free what killed processes of this machine held, so that a restart continues at once; return the number of rows."""
    return sum(leases.release_dead(model.objects.all()) for model in (Document, Index, Source))
