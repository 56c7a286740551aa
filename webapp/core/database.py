"""Reach the database from asynchronous code.

Requests and sockets use `in_database`, which runs in the thread of the caller's context (`webapp.core.threads`). A background service that
writes a lot has a `DatabaseThread` of its own, so that its writes never compete with each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import Error, InterfaceError, OperationalError, connections

from webapp.core import leases

P = ParamSpec("P")
T = TypeVar("T")
DB_UNAVAILABLE = (OperationalError, InterfaceError)
"""The errors of a database that is down, locked or full: the call may be repeated. Any other database error is final."""

_kept: ContextVar[bool] = ContextVar("connection_kept", default=False)


async def in_database(run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `run` in the thread of the caller's context and leave no open connection there.

    Unlike `channels.db.database_sync_to_async` it leaves a connection alone that is in a transaction: a view may call this through
    `async_to_sync` from inside one (the admin's forms do).
    """
    return await sync_to_async(_tidied)(run, *args, **kwargs)


@contextmanager
def connection_kept() -> Iterator[None]:
    """Keep a SQLite connection open between the calls of `in_database` in this block, since opening one costs 2 ms.

    A PostgreSQL connection goes back to its pool each time: a task that waits for a backend must not hold one.
    """
    token = _kept.set(True)
    try:
        yield
    finally:
        _kept.reset(token)


def _tidied(run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    _tidy()
    try:
        return run(*args, **kwargs)
    finally:
        _tidy()


def _tidy() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block and not (_kept.get() and connection.vendor == "sqlite"):
            connection.close_if_unusable_or_obsolete()


class DatabaseThread:
    """Run functions that use the ORM one after the other, in a thread and with a connection of their own."""

    def __init__(self, name: str) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return the function's result. A broken connection is replaced before the next call."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(_call, partial(function, *args, **kwargs)))

    async def aclose(self) -> None:
        """Finish the running call and close the connection."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._executor, connections.close_all)
        self._executor.shutdown(wait=False)


def _call(function: Callable[[], T]) -> T:
    try:
        return function()
    except Error as error:
        if isinstance(error, DB_UNAVAILABLE):
            leases.database_was_away()
        for connection in connections.all(initialized_only=True):
            connection.close_if_unusable_or_obsolete()
        raise
