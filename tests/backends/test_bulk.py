"""Plain values are written as the ORM writes them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from django.db import connection

from webapp.backends.models import Attempt
from webapp.core import bulk


@pytest.mark.django_db
@pytest.mark.parametrize(
    "created_at",
    [
        datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC),
        datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=-5))),
    ],
)
@pytest.mark.parametrize("cost", [None, Decimal("0.00000012"), Decimal("12.5")])
def test_a_row_of_plain_values_is_the_row_that_the_orm_writes(created_at: datetime, cost: Decimal | None) -> None:
    row = Attempt(created_at=created_at, cost=cost, backend="b", model="m", outcome="ok", why="it's “so”; DROP TABLE", status=200)
    row.save()
    values = {field.attname: getattr(row, field.attname) for field in Attempt._meta.concrete_fields if not field.primary_key}
    bulk.insert(Attempt, list(values), [list(values.values())])
    columns = ", ".join(f'"{name}"' for name in values)
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM backends_attempt")
        by_the_orm, plain = cursor.fetchall()
    assert by_the_orm == plain
