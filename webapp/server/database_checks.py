"""Check a database before `migrate` (and so `up` and `copy_database`) creates tables in it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import connections

ENCODING = "CREATE DATABASE patchbay ENCODING 'UTF8' TEMPLATE template0;"


def encoding(databases: Sequence[str] | None = None, **_details: Any) -> list[CheckMessage]:
    """Report databases that are not UTF-8. Under the C locale PostgreSQL creates SQL_ASCII ones, which fail at the first × in JSON."""
    found = {alias: problem for alias in databases or () if (problem := wrong_encoding(alias))}
    return [Error(problem, hint=f"Create it again: {ENCODING}", id="patchbay.E001") for problem in found.values()]


def connected(alias: str) -> None:
    """Connect once without the pool, whose own error says only that it waited.

    Raises:
        django.db.Error: with the server's reason.
    """
    connection: Any = connections[alias]
    if connection.vendor != "postgresql":
        return
    parameters = {**connection.get_connection_params()}
    parameters.pop("pool", None)
    with connection.wrap_database_errors:
        connection.Database.connect(**parameters).close()


def wrong_encoding(alias: str) -> str:
    """Return the problem with the encoding of a database, or an empty text."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        (name,) = cursor.fetchone()
    return "" if name == "UTF8" else f"The database's encoding is {name}, not UTF8"
