"""Keep Python's garbage collector from pausing the process: a full collection visits every object, for 100 to 200 ms here.

The objects of start-up live as long as the process, so they are moved out of the collector's sight once it has settled (`gc.freeze`).
Later collections visit only the objects of current requests, and run less often, when most of those are already gone.
`python -m bench gateway` and `python -m bench batches` measure the effect.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from webapp.core.background import run_tasks

SETTLE_SECONDS = 5.0
"""By then the background services have finished their late imports, above all the openai package."""
YOUNG = 5_000
"""Net allocations between two young collections; Python's default is 700."""


@asynccontextmanager
async def service(settle_seconds: float = SETTLE_SECONDS) -> AsyncGenerator[None]:
    """Run the tuning as a background service."""
    async with run_tasks(heap=partial(_settle, settle_seconds)):
        yield


async def _settle(seconds: float) -> None:
    await asyncio.sleep(seconds)
    gc.collect()  # freezing would keep present garbage forever
    gc.freeze()
    _young, *older = gc.get_threshold()
    gc.set_threshold(YOUNG, *older)
