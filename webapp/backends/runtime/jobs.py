"""Run probes and benchmarks, each in a thread with its own event loop.

A job thus needs no server, delays no request, and has its own connections and breakers. Its results are stored in rows that any process can
show.
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
    """Run `job` in a thread. Joining the returned thread waits for its end."""
    thread = threading.Thread(target=_run, args=(name, job), name=name, daemon=True)
    thread.start()
    return thread


class Watched:
    """Run work and check regularly whether it may continue; otherwise cancel it."""

    def __init__(self, may_go_on: Callable[[], Awaitable[bool]], *, every: float) -> None:
        self._may_go_on = may_go_on
        self._every = every

    async def run(self, work: Coroutine[Any, Any, T]) -> T | None:
        """Return the result of the work; None if it was cancelled."""
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
    except Exception:  # last resort of the thread: the row stops changing, and the log has the reason
        logger.exception("%s failed", name)
    finally:
        connections.close_all()


async def _and_close(job: Job) -> None:
    try:
        await job()
    finally:
        await registry.aclose()
