"""Write and read many rows in one statement. The ORM would build an object and SQL for each row, thousands of times per second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from django.db import connection, models


def insert(model: type[models.Model], columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows of plain values, each in the order of `columns`."""
    quote = connection.ops.quote_name
    names, places = ", ".join(map(quote, columns)), ", ".join(["%s"] * len(columns))
    execute(f"INSERT INTO {quote(model._meta.db_table)} ({names}) VALUES ({places})", rows)  # noqa: S608 - names of our own models


def fetch(query: models.QuerySet[Any, Any]) -> list[Any]:
    """Return the rows of a `values_list` whose columns need no conversion."""
    statement, values = query.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return list(cursor.fetchall())


def fetch_chunks(query: models.QuerySet[Any, Any], size: int) -> Iterator[list[Any]]:
    """Yield the rows of such a `values_list` in lists of `size` rows, all from one statement."""
    statement, values = query.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        while rows := cursor.fetchmany(size):
            yield list(rows)


def execute(statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Execute a statement for each row of plain values: texts, numbers, UUIDs, aware datetimes, decimals that fit their column."""
    if connection.vendor == "sqlite":
        rows = zip(*map(_adapted, zip(*rows, strict=True)), strict=True)
    with connection.cursor() as cursor:
        cursor.executemany(statement, list(rows))


def _adapted(column: Sequence[Any]) -> Sequence[Any]:
    """Return the values of a column in SQLite's types. Most columns need no change."""
    if _ADAPT.keys().isdisjoint(map(type, column)):
        return column
    return [_ADAPT[kind](value) if (kind := type(value)) in _ADAPT else value for value in column]


def _naive(value: datetime) -> str:
    """Format a time as Django's SQLite backend does, in a fraction of the time."""
    if value.tzinfo is not UTC:
        value = value.astimezone(UTC)
    return value.isoformat(" ").removesuffix("+00:00")


def _hex(value: UUID) -> str:
    return value.hex


_ADAPT: Final[dict[type, Callable[[Any], Any]]] = {datetime: _naive, UUID: _hex}
