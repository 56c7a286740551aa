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
from webapp.patterns.errors import PatternError

logger = logging.getLogger("patchbay.search")


def claim() -> int | None:
    """Claim an index that is to be built and that no worker holds."""
    for pk in Index.objects.filter(leases.free(), state=Index.State.BUILDING).order_by("pk").values_list("pk", flat=True):
        if leases.take(Index.objects.filter(pk=pk, state=Index.State.BUILDING)):
            return pk
    return None


async def build(pk: int) -> None:
    """Fill a claimed index and make it serve. A failure is shown on the index, and the old one keeps serving."""
    row = Index.objects.filter(pk=pk)
    try:
        async with leases.renewed(row):
            await _build(pk)
    except PatternError as error:
        await in_database(row.update, state=Index.State.FAILED, why=error.message[:500], leased_until=None)
    except asyncio.CancelledError:
        await asyncio.shield(in_database(row.update, leased_until=None))
        raise
    except (Index.DoesNotExist, Collection.DoesNotExist):
        logger.info("index %s was dropped while it was built", pk)
    except DB_UNAVAILABLE:
        raise  # another worker continues when the lease is over
    except Exception as error:
        logger.exception("building index %s broke", pk)
        why = f"Patchbay had an internal error ({type(error).__name__})"
        await in_database(row.update, state=Index.State.FAILED, why=why, leased_until=None)


async def _build(pk: int) -> None:
    index = await in_database(Index.objects.select_related("collection__owner").get, pk=pk)

    async def exists(_done: int) -> None:
        if not await in_database(Index.objects.filter(pk=pk).exists):
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
        Index.objects.filter(pk=index.pk).update(state=Index.State.READY, why="", leased_until=None)
        if collection.companion_id == index.pk:
            return True
        former, collection.serving = collection.serving, index
        collection.save(update_fields=["serving"])
        choose_companion(collection, former)
    return True
