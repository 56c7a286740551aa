"""What `migrate` (and so `up` and `copy_database`) looks at in a database before it makes tables there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import connections

ENCODING = "CREATE DATABASE patchbay ENCODING 'UTF8' TEMPLATE template0;"


def encoding(databases: Sequence[str] | None = None, **_details: Any) -> list[CheckMessage]:
    """PostgreSQL set up under the C locale makes SQL_ASCII databases: most texts fit, until an answer holds a × in JSON."""
    found = {alias: problem for alias in databases or () if (problem := wrong_encoding(alias))}
    return [Error(problem, hint=f"Make it anew: {ENCODING}", id="patchbay.E001") for problem in found.values()]


def connected(alias: str) -> None:
    """Connect once past the pool, which says no more than that it waited. Raises Django's `Error` with the server's reason."""
    connection: Any = connections[alias]
    if connection.vendor != "postgresql":
        return
    parameters = {**connection.get_connection_params()}
    parameters.pop("pool", None)
    with connection.wrap_database_errors:
        connection.Database.connect(**parameters).close()


def wrong_encoding(alias: str) -> str:
    """What is wrong with the encoding of a database, or nothing."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        return ""
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_encoding")
        (name,) = cursor.fetchone()
    return "" if name == "UTF8" else f"The database's encoding is {name}, not UTF8"
