"""Attempts that are no longer kept: what the usage page and the budgets say stays what it was."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from tests.backends.runtime.test_budgets import NOW, check, spend
from tests.users import Users
from webapp.accounts.models import Budget
from webapp.backends.models import Attempt, UsageDay
from webapp.backends.reporting import retention, usage
from webapp.patterns.errors import BudgetSpent

DAYS = 40


def fill(cast: Users) -> None:
    """Two requests a day for 40 days: one answered at once, one by its second backend; tokens, costs and times all different."""
    today = datetime.now(UTC).replace(hour=12)
    rows = []
    for number in range(DAYS * 2):
        common: dict[str, Any] = {
            "request_id": uuid.uuid4(),
            "created_at": today - timedelta(days=number // 2),
            "source": "gateway",
            "user": (cast.owner, cast.other, None)[number % 3],
            "route": "default",
        }
        if number % 2:
            rows.append(Attempt(**common, backend="down", model="m", outcome="failed", error=("Unreachable", "TimedOut")[number % 4 == 1]))
            rows.append(Attempt(**common, backend="skipped", model="m", outcome="skipped"))
        cost = Decimal(number) / 1000 if number % 5 else None
        times = {"first_token_ms": 20.0 + number * 10, "prompt_tokens": number, "completion_tokens": 2 * number + 1}
        rows.append(Attempt(**common, **times, backend="up", model=f"m{number % 2}", outcome="ok", cost=cost, estimated=number % 7 == 0))
    Attempt.objects.bulk_create(rows)


def money(cost: Any) -> Decimal | None:
    """SQLite adds up in floating point."""
    return None if cost is None else Decimal(cost).quantize(Decimal("0.000001"))


def shown(cast: Users, **query: str) -> list[Any]:
    """All that the page shows, to staff and to a person, without the percentiles."""
    filters = usage.Filters.of({"period": "90d", **query})
    found: list[Any] = []
    for viewer in (cast.administrator, cast.owner):
        rows = usage.attempts(filters, viewer=viewer)
        sums = usage.totals(rows)
        found += [replace(sums, cost=money(sums.cost)), sorted(usage.errors(rows)), usage.choices(viewer=viewer)]
        found += [(b.start, b.ok, b.failed, b.prompt_tokens, b.completion_tokens, money(b.cost)) for b in usage.buckets(rows, [], filters)]
        for by in usage.GROUPS:
            found += [
                (g.name, g.attempts, g.failed, g.prompt_tokens, g.completion_tokens, money(g.cost)) for g in usage.groups(rows, [], by)
            ]
    return found


def percentiles(cast: Users) -> list[float]:
    filters = usage.Filters(period="90d")
    rows = usage.attempts(filters, viewer=cast.administrator)
    seen = usage.samples(rows)
    whole = [usage.percentile([(one.ms, one.weight) for one in seen], part) for part in (0.5, 0.95, 0.99)]
    grouped = [group.p50 for group in usage.groups(rows, seen, "model")]
    daily = [bucket.p95 for bucket in usage.buckets(rows, seen, filters)]
    return [value or 0 for value in (*whole, *grouped, *daily)]


def test_nothing_that_the_page_shows_changes(cast: Users) -> None:
    fill(cast)
    before, times, filtered = shown(cast), percentiles(cast), shown(cast, model="m1", source="gateway")
    cutoff = datetime.now(UTC) - timedelta(days=15)
    kept = Attempt.objects.filter(created_at__gte=cutoff).count()
    while retention.add_up(cutoff, at_once=7):  # requests are torn apart by this
        assert shown(cast) == before
    while retention.merge_hours(cutoff.date()):
        assert shown(cast) == before
    while retention.delete_old(cutoff, at_once=7):
        assert shown(cast) == before
    assert Attempt.objects.count() == kept
    assert UsageDay.objects.count() > 20
    assert shown(cast, model="m1", source="gateway") == filtered
    assert percentiles(cast) == pytest.approx(times, rel=0.03)


def test_the_days_of_a_deleted_user_stay_and_are_nobodys(cast: Users) -> None:
    fill(cast)
    retention.add_up(datetime.now(UTC) - timedelta(days=15))
    total = usage.totals(usage.attempts(usage.Filters(period="90d"), viewer=cast.administrator)).completion_tokens
    cast.other.delete()
    assert usage.totals(usage.attempts(usage.Filters(period="90d"), viewer=cast.administrator)).completion_tokens == total


def test_a_budget_counts_the_days_too(cast: Users) -> None:
    Budget.objects.create(user=cast.owner, monthly=Decimal("2.5"))
    spend(cast.owner, "2", NOW - timedelta(days=20))
    retention.add_up(NOW - timedelta(days=10))
    retention.delete_old(NOW - timedelta(days=10))
    assert not Attempt.objects.exists()
    check(cast.owner)
    spend(cast.owner, "0.5")
    with pytest.raises(BudgetSpent):
        check(cast.owner)


def test_how_long_is_a_setting_and_0_keeps_all(settings: Any) -> None:
    now = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)
    settings.ATTEMPT_RETENTION_DAYS = 7
    assert retention.oldest_kept(now) == datetime(2026, 11, 15, tzinfo=UTC)
    settings.ATTEMPT_RETENTION_DAYS = 0
    assert retention.oldest_kept(now) is None


@pytest.mark.django_db(transaction=True)
async def test_the_server_does_it_by_itself(cast: Users, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "AT_ONCE", 50)
    monkeypatch.setattr(retention, "BREATH_SECONDS", 0.01)
    settings.ATTEMPT_RETENTION_DAYS = 1
    await sync_to_async(fill)(cast)
    async with retention.service():
        for _ in range(500):
            await asyncio.sleep(0.01)
            if await Attempt.objects.acount() <= 8:
                break
    assert await Attempt.objects.acount() <= 8
    assert await UsageDay.objects.aexists()


def test_the_page_says_how_much_is_estimated(as_administrator: Client, cast: Users) -> None:
    fill(cast)
    assert "of these tokens are estimates" in as_administrator.get("/usage/?period=90d").content.decode()
    assert "≈" in as_administrator.get("/admin/backends/attempt/").content.decode()


def test_the_hours_of_a_day_are_the_same_before_and_after_they_are_summed(cast: Users) -> None:
    now = datetime.now(UTC)
    for hours in range(30):
        common = {"request_id": uuid.uuid4(), "created_at": now - timedelta(hours=hours), "source": "chat", "backend": f"b{hours % 2}"}
        Attempt.objects.create(**common, model="m", outcome="failed" if hours % 3 else "ok", prompt_tokens=hours)

    def hourly() -> list[Any]:
        filters = usage.Filters(period="24h")
        rows = usage.attempts(filters, viewer=cast.administrator)
        return [[(one.start, one.ok, one.failed, one.prompt_tokens) for one in usage.buckets(rows, [], filters)], usage.hourly_counts()]

    before = hourly()
    while retention.add_up(now + timedelta(seconds=1), at_once=4):
        assert hourly() == before
    assert not Attempt.objects.filter(summed=None).exists()
