"""The database from asynchronous code."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from channels.db import database_sync_to_async

P = ParamSpec("P")
T = TypeVar("T")


def read(run: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """`run` on one of the loop's few shared threads: a thread for each socket would cost a database connection each."""
    wrapped: Callable[P, Awaitable[T]] = database_sync_to_async(run, thread_sensitive=False)
    return wrapped
