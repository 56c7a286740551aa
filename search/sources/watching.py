"""Watch folders in this process, for `index_documents --watch`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from search.ingest_cli import Outcome, finish_document
from search.models import Collection
from search.sources import items
from search.sources.folders import FolderFollower
from webapp.core.database import in_database

INTERVAL_SECONDS: Final = 2.0
MAX_SHARE: Final = 0.05
"""Of the time, a scan may take. Large folders are scanned less often."""

Report = Callable[[Outcome], None]


async def watch(
    collection: Collection, paths: Sequence[str], report: Report, *, rounds: int | None = None, interval: float = INTERVAL_SECONDS
) -> None:
    """Follow folders until cancelled, and report each file that was read or removed.

    Args:
        collection: takes the files.
        paths: absolute paths of folders.
        report: called for each file.
        rounds: how many comparisons to make; None for no end.
        interval: the shortest pause between two comparisons, in seconds.
    """
    followers = [FolderFollower(await in_database(items.folder_source, collection=collection, path=path)) for path in paths]
    done = 0
    while True:
        for follower in followers:
            await _compare(follower, report)
        done += 1
        if done == rounds:
            return
        await asyncio.sleep(max(interval, sum(follower.scan_seconds for follower in followers) / MAX_SHARE))


async def _compare(follower: FolderFollower, report: Report) -> None:
    """Compare once, and ingest what is new. Documents that a killed process left behind are continued, too."""
    changes = await in_database(follower.compare)
    for name in changes.removed:
        report(Outcome(name, removed=True))
    for name, why in changes.failed:
        report(Outcome(name, why))
    for name, document in await in_database(items.unfinished_documents, follower.source):
        report(await finish_document(document, name))
