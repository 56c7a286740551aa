"""Run background responses in Celery's workers. A task is a nudge: the lease in the database decides which process runs a response."""

from __future__ import annotations

import asyncio
from functools import cache

from webapp.backends.runtime import registry
from webapp.celery import app
from webapp.core.background import run_tasks
from webapp.gateway.responses.jobs import JobRunner


@cache
def _loop() -> asyncio.Runner:
    """Return one event loop for the life of the worker process: connections to backends belong to it."""
    return asyncio.Runner()


@app.task(acks_late=True, reject_on_worker_lost=True)
def run_responses() -> None:
    """Run the queued responses that no other process runs, until there are none left."""
    _loop().run(work())


async def work() -> None:
    """Claim queued responses and run them to their end, with leases renewed and cancellations obeyed meanwhile."""
    runner = JobRunner(grace=False)
    try:
        await runner.step()
        async with run_tasks(responses=runner.run):
            await runner.idle()
        await registry.flush()
    finally:
        await runner.aclose()
