"""The database from asynchronous code."""

from __future__ import annotations

import pytest
from asgiref.sync import ThreadSensitiveContext
from django.db import connection

from webapp.core.database import connection_kept, in_database

pytestmark = pytest.mark.django_db(transaction=True)


def used() -> object:
    """The driver's connection, after a query."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return connection.connection


def driver_connection() -> object:
    """The driver's connection as the call before left it."""
    return connection.connection


async def test_a_call_leaves_no_connection_behind() -> None:
    async with ThreadSensitiveContext():
        first = await in_database(used)
        assert await in_database(used) is not first


async def test_where_connections_are_kept_calls_share_one_and_the_next_call_after_closes_it() -> None:
    async with ThreadSensitiveContext():
        with connection_kept():
            first = await in_database(used)
            assert await in_database(used) is first
        assert await in_database(driver_connection) is None
