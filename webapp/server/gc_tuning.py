"""Keeps Python's garbage collector from stopping everything: a full collection walks every object of the process, for 100 to 200 ms here.

What start-up made stays for good. Once it has settled it is put where no collection looks (`gc.freeze`). Collections, which then walk what
the requests of the moment hold, come rarer: most of that is gone by then. `python -m bench gateway` and `python -m bench batches` are the
measure.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from webapp.core.background import run_tasks

SETTLE_SECONDS = 5.0
"""By then the background services have imported what is imported late, the openai package above all."""
YOUNG = 5_000
"""Objects made and not gone between two collections; Python's own number is 700."""


@asynccontextmanager
async def service(settle_seconds: float = SETTLE_SECONDS) -> AsyncGenerator[None]:
    """The background service."""
    async with run_tasks(heap=partial(_settle, settle_seconds)):
        yield


async def _settle(seconds: float) -> None:
    await asyncio.sleep(seconds)
    gc.collect()  # what is garbage now would be kept for ever
    gc.freeze()
    _young, *older = gc.get_threshold()
    gc.set_threshold(YOUNG, *older)
