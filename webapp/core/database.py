"""The database from asynchronous code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import InterfaceError, OperationalError, connections

P = ParamSpec("P")
T = TypeVar("T")
DB_UNAVAILABLE = (OperationalError, InterfaceError)
"""What a database raises that is not there, locked or full: to be tried again. Any other error is a refusal, for good."""

_kept: ContextVar[bool] = ContextVar("connection_kept", default=False)


async def in_database(run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `run` in the thread of the caller's context, and leave no connection behind there.

    Unlike `channels.db.database_sync_to_async` it leaves a connection alone that is in a transaction: a view may call this through
    `async_to_sync` from inside one (the admin's forms do).
    """
    return await sync_to_async(_tidied)(run, *args, **kwargs)


@contextmanager
def connection_kept() -> Iterator[None]:
    """Inside, `in_database` leaves a SQLite connection open for the next call: opening one costs 2 ms. The first call after it closes it.

    A connection of PostgreSQL goes back to its pool each time: whoever waits for a backend must not hold one.
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
