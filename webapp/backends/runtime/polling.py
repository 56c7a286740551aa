"""Ask backends without traffic for `GET /v1/models`, which is free, so that their health is known before it is needed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

from webapp.backends.models import Backend
from webapp.backends.runtime import health, registry
from webapp.core.background import run_tasks
from webapp.core.database import in_database
from webapp.patterns.errors import BackendError, BadAnswer, PatternError, TimedOut

WAKE_SECONDS = 5.0
QUIET = timedelta(seconds=30)
PATIENCE_SECONDS = 5.0


@asynccontextmanager
async def service() -> AsyncGenerator[None, None]:
    """Run the poll as a background service."""
    async with run_tasks(health=_forever):
        yield


async def _forever() -> None:
    while True:
        await poll(quiet=QUIET)
        await asyncio.sleep(WAKE_SECONDS)


async def poll(*, quiet: timedelta) -> None:
    """Ask every backend without news for `quiet`, all at once."""
    due = await in_database(health.claim_due, older_than=quiet)
    await asyncio.gather(*(look_at(pk) for pk in due))


async def look_at(pk: int) -> bool:
    """Ask one backend for its models, record its health, and return whether it is up."""
    from webapp.patterns.openai.backend import warm_up

    await warm_up()  # the first import is slow, which is not the server's fault
    begun = time.monotonic()
    error = await _ask(pk)
    latency = (time.monotonic() - begun) * 1000
    # A server without a model list answers 404 or 501 but is up.
    up = error is None or not (error.counts or error.flag) or error.status == 501
    await in_database(_keep, pk, up=up, error=error, latency=latency)
    await _find_models(pk, error)
    if error is not None:
        row = (await registry.current().snapshot()).backends.get(pk)
        if row is not None:
            registry.current().close_account(row.name, error)
    return up


async def _find_models(pk: int, error: BackendError | None) -> None:
    """Find the models of a backend that was added while its server was down."""
    from webapp.backends.services.discovery import discover  # avoids an import cycle with the services

    if error is not None and error.counts and not isinstance(error, BadAnswer):
        return
    backend = await in_database(Backend.objects.filter(pk=pk, offered=None).first)
    if backend is not None:
        await discover(backend)


async def _ask(pk: int) -> BackendError | None:
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await (await registry.backend(pk)).models()
    except TimeoutError:
        return TimedOut(f"no answer within {PATIENCE_SECONDS:.0f} s")
    except BackendError as error:
        return error
    except PatternError as error:
        return BackendError(error.message)
    return None


def _keep(pk: int, *, up: bool, error: BackendError | None, latency: float) -> None:
    backend = Backend.objects.filter(pk=pk).first()
    if backend is None:
        return
    health.keep(backend=backend, up=up, why="" if up or error is None else error.message, latency_ms=latency if up else None)
    if error is not None:  # an answer does not clear the flag: many servers list their models without a key
        health.set_flag(backend=backend, error=type(error), why=error.message)
