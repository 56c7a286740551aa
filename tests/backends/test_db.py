"""The database from asynchronous code: what becomes of its connections."""

from __future__ import annotations

import pytest
from django.db import connection, connections

from webapp.backends.db import connection_kept, in_database


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL has a pool")
@pytest.mark.django_db(transaction=True)
async def test_the_calls_of_one_request_share_a_connection_where_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of its own would be opened each time; the tests' database in memory is never closed, so the closing is counted."""
    closed: list[str] = []
    monkeypatch.setattr(type(connections["default"]), "close_if_unusable_or_obsolete", lambda _self: closed.append("closed"))
    await in_database(connection.ensure_connection)
    closed.clear()
    await in_database(connection.ensure_connection)
    assert len(closed) == 2
    with connection_kept():
        await in_database(connection.ensure_connection)
        await in_database(connection.ensure_connection)
    assert len(closed) == 2
    await in_database(connection.ensure_connection)
    assert len(closed) == 4
