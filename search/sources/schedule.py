"""Read web sources when they are due: in the server, or by `manage.py read_sources`."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

from django.db.models import QuerySet
from django.utils import timezone

from search import leases, worker_events
from search.models import Source
from search.sources import items, web
from webapp.core.database import DB_UNAVAILABLE, in_database
from webapp.core.leases import claim as claim_lease
from webapp.core.leases import release

logger = logging.getLogger("patchbay.search")
WEB_KINDS = (Source.Kind.PAGES, Source.Kind.SITEMAP)
MIN_MINUTES = 15


def due_sources() -> QuerySet[Source]:
    """Return the web sources that are due and whose owners are active."""
    web_sources = Source.objects.filter(kind__in=WEB_KINDS, collection__owner__is_active=True)
    return web_sources.filter(next_read_at__lte=timezone.now()).order_by("next_read_at")


def claim() -> Source | None:
    """Claim a due source that no worker reads."""
    return claim_lease(due_sources().select_related("collection"), owner=leases.worker())


async def read(source: Source) -> None:
    """Read a claimed source, and set when it is due again."""
    try:
        async with leases.renewed(source):
            why = await web.read_source(source)
    except asyncio.CancelledError:
        await asyncio.shield(in_database(release, source))
        raise
    except DB_UNAVAILABLE:
        raise  # another worker reads it when the lease is over
    except Exception as error:
        logger.exception("reading the source %s failed", source.pk)
        why = f"Patchbay had an internal error ({type(error).__name__}). The server's log has the details"
    next_read_at = timezone.now() + timedelta(minutes=max(source.every_minutes, MIN_MINUTES))
    await in_database(items.note_read, source=source, why=why)
    await in_database(release, source, next_read_at=next_read_at)


def read_soon(*, source: Source) -> None:
    """Make a source due now."""
    Source.objects.filter(pk=source.pk, kind__in=WEB_KINDS).update(next_read_at=timezone.now())
    worker_events.wake()
