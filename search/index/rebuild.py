"""Build a new index next to the serving one: fill it batch by batch, then swap them in one transaction."""

from __future__ import annotations

import asyncio
import logging

from django.db import transaction

from search import leases
from search.index import embed_index
from search.index.companion import choose_companion
from search.models import Collection, Index
from webapp.core.database import DB_UNAVAILABLE, in_database
from webapp.core.leases import claim as claim_lease
from webapp.core.leases import held, release
from webapp.patterns.errors import PatternError

logger = logging.getLogger("patchbay.search")


def claim() -> Index | None:
    """Claim an index that is to be built and that no worker holds."""
    waiting = Index.objects.filter(state=Index.State.BUILDING).select_related("collection__owner")
    return claim_lease(waiting.order_by("pk"), owner=leases.worker())


async def build(index: Index) -> None:
    """Fill a claimed index and make it serve. A failure is shown on the index, and the old one keeps serving."""
    try:
        async with leases.renewed(index):
            await _build(index)
    except PatternError as error:
        await in_database(_fail, index, error.message)
    except asyncio.CancelledError:
        await asyncio.shield(in_database(release, index))
        raise
    except (Index.DoesNotExist, Collection.DoesNotExist):
        logger.info("index %s was dropped or taken over while it was built", index.pk)
    except DB_UNAVAILABLE:
        raise  # another worker continues when the lease is over
    except Exception as error:
        logger.exception("building index %s broke", index.pk)
        await in_database(_fail, index, f"Patchbay had an internal error ({type(error).__name__})")


def _fail(index: Index, why: str) -> None:
    held(index).update(state=Index.State.FAILED, why=why[:500], **leases.RELEASED)


async def _build(index: Index) -> None:
    async def exists(_done: int) -> None:
        if not await in_database(held(index).exists):
            raise Index.DoesNotExist

    while True:
        todo = await in_database(_missing, index)
        if not todo and await in_database(take_over, index):
            return
        await embed_index.fill(index, todo, user=index.collection.owner, progress=exists)


def _missing(index: Index) -> list[int]:
    index.refresh_from_db(fields=["rows", "dimension", "generation"])
    return embed_index.missing(index)


def take_over(index: Index) -> bool:
    """Make the index serve, or be the companion that it was made for, if it is complete. The previous one stays for comparison."""
    with transaction.atomic():
        collection = Collection.objects.select_for_update().get(pk=index.collection_id)
        if _missing(index):
            return False
        if not held(index).update(state=Index.State.READY, why="", **leases.RELEASED):
            raise Index.DoesNotExist
        if collection.companion_id == index.pk:
            return True
        former, collection.serving = collection.serving, index
        collection.save(update_fields=["serving"])
        choose_companion(collection, former)
    return True
