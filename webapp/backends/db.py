"""The database from asynchronous code."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from asgiref.sync import sync_to_async
from django.db import connections

P = ParamSpec("P")
T = TypeVar("T")


async def in_database(run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call `run` in the thread of the caller's context, and leave no connection behind there.

    Unlike `channels.db.database_sync_to_async` it leaves a connection alone that is in a transaction: a view may call this through
    `async_to_sync` from inside one (the admin's forms do).
    """
    return await sync_to_async(_tidied)(run, *args, **kwargs)


def _tidied(run: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    _tidy()
    try:
        return run(*args, **kwargs)
    finally:
        _tidy()


def _tidy() -> None:
    for connection in connections.all(initialized_only=True):
        if not connection.in_atomic_block:
            connection.close_if_unusable_or_obsolete()
