"""Work that an administrator starts and watches: probes and benchmarks, each in a thread with an event loop of its own.

So it needs no server around it, holds up no request, and its connections and breakers are not those of the live traffic. What it finds is
kept in rows, which any process can show.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from django.db import connections

from webapp.backends.runtime import registry

logger = logging.getLogger("patchbay.backends")
T = TypeVar("T")
Job = Callable[[], Coroutine[Any, Any, None]]


def start(name: str, job: Job) -> threading.Thread:
    """Run `job` beside everything else. Joining the returned thread waits for its end."""
    thread = threading.Thread(target=_run, args=(name, job), name=name, daemon=True)
    thread.start()
    return thread


class Watched:
    """Runs work while asking every so often whether it may go on; once it may not, the work is cancelled."""

    def __init__(self, may_go_on: Callable[[], Awaitable[bool]], *, every: float) -> None:
        self._may_go_on = may_go_on
        self._every = every

    async def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What the work comes to; None when it was cancelled."""
        task = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({task}, timeout=self._every))[0]:
                if not await self._may_go_on():
                    return None
            return await task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _run(name: str, job: Job) -> None:
    try:
        asyncio.run(_and_close(job))
    except Exception:  # the thread's last line: whoever watches sees the row stand still, the log says why
        logger.exception("%s failed", name)
    finally:
        connections.close_all()


async def _and_close(job: Job) -> None:
    try:
        await job()
    finally:
        await registry.aclose()
