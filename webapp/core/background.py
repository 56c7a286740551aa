"""What runs beside the requests in the server process: registered by apps when they load, started and stopped with the server.

A service is an async context manager: entering starts its tasks, leaving stops them within seconds. `manage.py up` (both servers) enters
all of them through the ASGI lifespan.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from asgiref.sync import ThreadSensitiveContext
from django.db import Error

logger = logging.getLogger("patchbay")
AGAIN_SECONDS = 5.0
DEAF_SECONDS = 0.5
Service = Callable[[], AbstractAsyncContextManager[None]]

_services: dict[str, Service] = {}
_work: set[asyncio.Future[Any]] = set()


def register(name: str, service: Service) -> None:
    """Have `service` run in every server process; the name is for logs and must be new."""
    if name in _services:
        raise ValueError(f"a background service named {name!r} exists")
    _services[name] = service


def track_pending(work: asyncio.Future[Any]) -> None:
    """Have a stop of the server wait for `work`, for its time of grace."""
    _work.add(work)
    work.add_done_callback(_work.discard)


async def wait_pending(seconds: float) -> None:
    """Wait until there is no work left that a stop waits for, at most so long."""
    if _work:
        await asyncio.wait(tuple(_work), timeout=seconds)


@asynccontextmanager
async def run_tasks(**work: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Run these beside the block until it is left. What fails is told to the log by its name, and begun again after a pause."""
    tasks = [asyncio.create_task(restart_on_failure(name, run)) for name, run in work.items()]
    try:
        yield
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """End them all. What runs on is cancelled again: libraries swallow a cancellation now and then (channels_redis does under uvloop)."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=DEAF_SECONDS)
        await asyncio.gather(*done, return_exceptions=True)


async def restart_on_failure(name: str, run: Callable[[], Awaitable[object]]) -> None:
    """Run it to its end, however often it fails before."""
    while True:
        try:
            await run()
        except Error as error:
            logger.error("%s waits for the database: %s", name, error)  # noqa: TRY400 - it may come again every few seconds
        except Exception:
            logger.exception("%s failed, and is begun again", name)
        else:
            return
        await asyncio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def running() -> AsyncGenerator[None, None]:
    """All registered services, started in order and stopped in reverse."""
    async with AsyncExitStack() as stack:
        for name, service in _services.items():
            await stack.enter_async_context(_hosted(name, service))
        yield


@asynccontextmanager
async def _hosted(name: str, service: Service) -> AsyncGenerator[None, None]:
    """A service in a task of its own, and so with a database thread of its own: a slow one holds nobody else up."""
    started, stop = asyncio.Event(), asyncio.Event()

    async def host() -> None:
        async with ThreadSensitiveContext(), service():
            started.set()
            await stop.wait()

    task = asyncio.create_task(host(), name=name)
    waiting = asyncio.create_task(started.wait())
    await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if task.done():
        await task  # it failed to start: say why
    try:
        yield
    finally:
        stop.set()
        await task
