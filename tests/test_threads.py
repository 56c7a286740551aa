"""The database threads that sockets and answers share."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.db import connection

from webapp.core import threads
from webapp.core.database import in_database

pytestmark = pytest.mark.django_db(transaction=True)


async def name_of_thread() -> str:
    async with threads.shared():
        return await in_database(lambda: threading.current_thread().name)


async def test_many_tasks_use_few_threads() -> None:
    names = await asyncio.gather(*(name_of_thread() for _ in range(4 * threads.SIZE)))
    assert len(set(names)) == threads.SIZE


def same_connection() -> object:
    connection.ensure_connection()
    return connection.connection


async def test_a_connection_to_sqlite_stays_open_between_two_queries() -> None:
    async with threads.shared():
        assert await in_database(same_connection) is await in_database(same_connection)


async def test_a_task_that_outlives_a_socket_has_threads_of_its_own() -> None:
    """A task that a socket started outlives it, so its calls must not need the socket's context."""
    go = asyncio.Event()

    async def later() -> str:
        await go.wait()
        return await name_of_thread()

    async with threads.shared():
        task = asyncio.create_task(later())
    go.set()
    assert (await task).startswith("database-")
