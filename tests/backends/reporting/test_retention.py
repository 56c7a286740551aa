"""Attempts that are no longer kept: what the usage page and the budgets say stays what it was."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import call_command
from django.test import Client

from tests.backends.runtime.test_budgets import NOW, check, spend
from tests.users import Users
from webapp.accounts.models import Budget
from webapp.backends.models import Attempt, UsageSum
from webapp.backends.reporting import retention, usage, usage_sums
from webapp.patterns.errors import BudgetSpent

DAYS = 40


def fill(users: Users) -> None:
    """Two requests a day for 40 days: one answered at once, one by its second backend; tokens, costs and times all different."""
    today = datetime.now(UTC).replace(hour=0, minute=1)
    rows = []
    for number in range(DAYS * 2):
        common: dict[str, Any] = {
            "request_id": uuid.uuid4(),
            "created_at": today - timedelta(days=number // 2),
            "source": "gateway",
            "user": (users.owner, users.other, None)[number % 3],
            "route": "default",
        }
        if number % 2:
            rows.append(Attempt(**common, backend="down", model="m", outcome="failed", error=("Unreachable", "TimedOut")[number % 4 == 1]))
            rows.append(Attempt(**common, backend="skipped", model="m", outcome="skipped"))
        cost = Decimal(number) / 1000 if number % 5 else None
        times = {"first_token_ms": 20.0 + number * 10, "prompt_tokens": number, "completion_tokens": 2 * number + 1}
        rows.append(Attempt(**common, **times, backend="up", model=f"m{number % 2}", outcome="ok", cost=cost, estimated=number % 7 == 0))
    Attempt.objects.bulk_create(rows)


def shown(users: Users, **query: str) -> list[Any]:
    """All that the page shows, to staff and to a person."""
    filters = usage.Filters.of({"period": "90d", **query})
    found: list[Any] = []
    for viewer in (users.administrator, users.owner):
        page = usage.read(filters, viewer=viewer)
        assert page.complete
        found += [page, usage.choices(viewer=viewer)]
    return found


QUERIES: list[dict[str, str]] = [
    {},
    {"model": "m1", "source": "gateway"},
    {"backend": "up"},
    {"backend": "down"},
    {"user": "owner"},
    {"user": "owner", "model": "m0"},
    {"route": "default", "backend": "up", "model": "m0"},
    {"source": "chat"},
]


def test_the_page_shows_the_same_before_and_after_attempts_are_summed_up_and_deleted(users: Users) -> None:
    fill(users)
    before = [shown(users, **query) for query in QUERIES]
    cutoff = datetime.now(UTC) - timedelta(days=15)
    kept = Attempt.objects.filter(created_at__gte=cutoff).count()
    while usage_sums.add_up(cutoff, at_once=7):  # steps of seven attempts divide requests
        assert [shown(users, **query) for query in QUERIES] == before
    while retention.delete_old(cutoff, at_once=7):
        assert [shown(users, **query) for query in QUERIES] == before
    assert Attempt.objects.count() == kept
    assert UsageSum.objects.count() > 20


def test_a_rebuild_leaves_right_sums_and_repairs_wrong_ones(users: Users, settings: Any) -> None:
    settings.ATTEMPT_RETENTION_DAYS = 0
    fill(users)
    before = [shown(users, **query) for query in QUERIES]
    call_command("sum_usage", stdout=StringIO())
    assert not Attempt.objects.filter(summed=None).exists()
    UsageSum.objects.update(prompt_tokens=7, attempts=1, first_tokens=b"")
    assert shown(users) != before[0]
    call_command("sum_usage", "--rebuild", stdout=StringIO())
    assert [shown(users, **query) for query in QUERIES] == before


def test_a_rebuild_keeps_the_sums_of_attempts_that_the_log_no_longer_holds(users: Users, settings: Any) -> None:
    settings.ATTEMPT_RETENTION_DAYS = 0
    fill(users)
    before = shown(users)
    call_command("sum_usage", stdout=StringIO())
    Attempt.objects.filter(created_at__lt=datetime.now(UTC) - timedelta(days=10), backend="up").delete()
    said = StringIO()
    call_command("sum_usage", "--rebuild", stdout=said)
    assert "the sums have attempts that the log no longer holds" in said.getvalue()
    assert shown(users) == before


def test_an_import_without_sums_is_announced_on_the_page(users: Users, as_administrator: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "MAX_WAITING", 20)
    fill(users)
    page = as_administrator.get("/usage/?period=90d").content.decode()
    assert "usage-incomplete" in page
    assert "manage.py sum_usage" in page
    call_command("sum_usage", stdout=StringIO())
    assert "usage-incomplete" not in as_administrator.get("/usage/?period=90d").content.decode()


def test_a_request_counts_at_its_last_attempt_whatever_the_filter(users: Users) -> None:
    fill(users)
    filters = usage.Filters.of({"period": "90d", "backend": "down"})
    for _ in range(2):
        assert usage.read(filters, viewer=users.administrator).totals.requests == 0
        assert usage.read(filters, viewer=users.administrator).totals.failed == DAYS
        usage_sums.add_up(datetime.now(UTC) + timedelta(days=1))


def test_the_sums_of_a_deleted_user_stay_without_a_name(users: Users) -> None:
    fill(users)
    usage_sums.add_up(datetime.now(UTC) - timedelta(days=15))
    filters = usage.Filters(period="90d")
    total = usage.read(filters, viewer=users.administrator).totals.completion_tokens
    users.other.delete()
    page = usage.read(filters, viewer=users.administrator)
    assert page.totals.completion_tokens == total
    assert {one.name for one in page.groups["user"]} == {"owner", ""}


def test_a_budget_counts_the_days_too(users: Users) -> None:
    Budget.objects.create(user=users.owner, monthly=Decimal("2.5"))
    spend(users.owner, "2", NOW - timedelta(days=20))
    usage_sums.add_up(NOW - timedelta(days=10))
    retention.delete_old(NOW - timedelta(days=10))
    assert not Attempt.objects.exists()
    check(users.owner)
    spend(users.owner, "0.5")
    with pytest.raises(BudgetSpent):
        check(users.owner)


def test_how_long_is_a_setting_and_0_keeps_all(settings: Any) -> None:
    now = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    settings.ATTEMPT_RETENTION_DAYS = 7
    assert retention.oldest_kept(now) == datetime(2026, 11, 15, tzinfo=UTC)
    settings.ATTEMPT_RETENTION_DAYS = 0
    assert retention.oldest_kept(now) is None


@pytest.mark.django_db(transaction=True)
async def test_the_server_does_it_by_itself(users: Users, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 50)
    monkeypatch.setattr(retention, "BREATH_SECONDS", 0.01)
    settings.ATTEMPT_RETENTION_DAYS = 1
    await sync_to_async(fill)(users)
    async with retention.service():
        for _ in range(500):
            await asyncio.sleep(0.01)
            if await Attempt.objects.acount() <= 8:
                break
    assert await Attempt.objects.acount() <= 8
    assert await UsageSum.objects.aexists()


def test_the_page_says_how_much_is_estimated(as_administrator: Client, users: Users) -> None:
    fill(users)
    assert "of these tokens are estimates" in as_administrator.get("/usage/?period=90d").content.decode()
    assert "≈" in as_administrator.get("/admin/backends/attempt/").content.decode()


def test_the_hours_of_a_day_are_the_same_before_and_after_they_are_summed(users: Users) -> None:
    now = datetime.now(UTC)
    for hours in range(30):
        common = {"request_id": uuid.uuid4(), "created_at": now - timedelta(hours=hours), "source": "chat", "backend": f"b{hours % 2}"}
        Attempt.objects.create(**common, model="m", outcome="failed" if hours % 3 else "ok", prompt_tokens=hours)

    def hourly() -> list[Any]:
        return [usage.read(usage.Filters(period="24h"), viewer=users.administrator), usage.hourly_counts()]

    before = hourly()
    while usage_sums.add_up(now + timedelta(seconds=1), at_once=4):
        assert hourly() == before
    assert not Attempt.objects.filter(summed=None).exists()
