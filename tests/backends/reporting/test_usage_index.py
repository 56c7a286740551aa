"""The queries of the usage page look rows up by grouping, kind, and time: most rows of the table belong to other groupings."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from django.db import connection
from django.db.models import QuerySet

from webapp.backends.models import Attempt, UsageSum

pytestmark = [pytest.mark.django_db, pytest.mark.skipif(connection.vendor != "sqlite", reason="the plans are those of SQLite")]
Grouping = UsageSum.Grouping
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


def plan(rows: QuerySet[UsageSum, Any]) -> str:
    return str(rows.order_by().explain())


@pytest.mark.parametrize("hourly", [True, False])
def test_a_period_is_found_in_an_index(hourly: bool) -> None:
    found = UsageSum.objects.of(Grouping.COMBINATION, hourly=hourly, since=SINCE)
    assert "usage_by_dimensions (grouping=? AND hourly=? AND start>?)" in plan(found)


def test_the_period_of_a_user_is_found_in_an_index() -> None:
    found = UsageSum.objects.of(Grouping.USER_COMBINATION, hourly=False, since=SINCE).filter(user=1)
    assert "usage_by_user (user_id=? AND grouping=? AND hourly=? AND start>?)" in plan(found)


def test_the_choices_of_the_filters_are_read_from_an_index_alone() -> None:
    found = UsageSum.objects.of(Grouping.COMBINATION, hourly=False, since=SINCE)
    assert "COVERING INDEX usage_by_dimensions" in plan(found.values_list("backend", "model", "route", "source").distinct())


def test_attempts_of_a_user_that_are_not_summed_are_found_without_the_others() -> None:
    found = Attempt.objects.filter(user=1, created_at__gte=SINCE, summed=None)
    assert "attempts_of_user_not_summed (user_id=? AND created_at>?)" in str(found.order_by().explain())
