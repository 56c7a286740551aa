"""Run background services in the server process. Apps register them when they load; they start and stop with the server.

A service is an async context manager: entering it starts its tasks, and leaving it stops them within seconds. `manage.py up` enters all
services through the ASGI lifespan, with both servers.
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
    """Register `service` to run in every server process. The name appears in logs and must be new."""
    if name in _services:
        raise ValueError(f"a background service named {name!r} exists")
    _services[name] = service


def track_pending(work: asyncio.Future[Any]) -> None:
    """Let a stopping server wait for `work`, up to its grace period."""
    _work.add(work)
    work.add_done_callback(_work.discard)


async def wait_pending(seconds: float) -> None:
    """Wait until all tracked work has finished, at most `seconds`."""
    if _work:
        await asyncio.wait(tuple(_work), timeout=seconds)


@asynccontextmanager
async def run_tasks(**work: Callable[[], Awaitable[object]]) -> AsyncGenerator[None]:
    """Run tasks while the block is active. A task that fails is logged under its name and restarted after a pause."""
    tasks = [asyncio.create_task(restart_on_failure(name, run)) for name, run in work.items()]
    try:
        yield
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks until all have ended. Libraries sometimes swallow a cancellation (channels_redis does under uvloop)."""
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        done, left = await asyncio.wait(left, timeout=DEAF_SECONDS)
        await asyncio.gather(*done, return_exceptions=True)


async def restart_on_failure(name: str, run: Callable[[], Awaitable[object]]) -> None:
    """Run a task to its end, and restart it after each failure."""
    while True:
        try:
            await run()
        except Error as error:
            logger.error("%s waits for the database: %s", name, error)  # noqa: TRY400 - it may repeat every few seconds
        except Exception:
            logger.exception("%s failed and is restarted", name)
        else:
            return
        await asyncio.sleep(AGAIN_SECONDS)


@asynccontextmanager
async def running() -> AsyncGenerator[None, None]:
    """Start all registered services in order, and stop them in reverse order."""
    async with AsyncExitStack() as stack:
        for name, service in _services.items():
            await stack.enter_async_context(_hosted(name, service))
        yield


@asynccontextmanager
async def _hosted(name: str, service: Service) -> AsyncGenerator[None, None]:
    """Run a service in its own task, with its own database thread, so that a slow service does not delay the others."""
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
        await task  # it failed to start: raise its error
    try:
        yield
    finally:
        stop.set()
        await task
