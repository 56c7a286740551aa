"""The runner's way to the database: one thread with one connection, so that the event loop never waits and writes never compete."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from django.db import Error, connections

from batches.execution import leases
from webapp.core.database import DB_UNAVAILABLE

P = ParamSpec("P")
T = TypeVar("T")


class Database:
    """Calls functions that use the ORM, one after the other, in a thread of its own."""

    def __init__(self, name: str = "batches") -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)

    async def run(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The function's result. A connection that broke is replaced before the next call."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, partial(_call, partial(function, *args, **kwargs)))

    async def aclose(self) -> None:
        """Finish what was begun and close the connection."""
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
