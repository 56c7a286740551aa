"""Budgets of users and groups."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group

from tests.users import Users
from webapp.accounts.models import Budget, User
from webapp.backends import services
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.backends.runtime.budgets import Spending
from webapp.patterns.errors import BudgetSpent

NOW = datetime(2026, 12, 30, 12, tzinfo=UTC)


def spend(user: User, cost: str, when: datetime = NOW) -> None:
    Attempt.objects.create(user=user, cost=Decimal(cost), created_at=when, source="chat", backend="openai", model="gpt", outcome="ok")


def check(user: User, spending: Spending | None = None) -> None:
    async_to_sync((spending or Spending(now=lambda: NOW)).check)(user.pk)


def test_without_a_budget_nothing_is_refused(users: Users) -> None:
    spend(users.owner, "1000")
    check(users.owner)


def test_a_spent_budget_says_whose_how_much_and_until_when(users: Users) -> None:
    Budget.objects.create(user=users.owner, monthly=Decimal("2.5"))
    spend(users.owner, "2.4")
    check(users.owner)
    spend(users.owner, "0.1")
    with pytest.raises(BudgetSpent, match=r"Your monthly budget \(2\.5\) is spent\. It starts anew on 1 January; a manager") as refused:
        check(users.owner)
    assert refused.value.retry_after == 36 * 3600
    check(users.other)


def test_last_month_does_not_count(users: Users) -> None:
    Budget.objects.create(user=users.owner, monthly=Decimal(1))
    spend(users.owner, "5", datetime(2026, 11, 30, 23, 59, tzinfo=UTC))
    check(users.owner)


def test_a_group_spends_together(users: Users) -> None:
    group = Group.objects.create(name="Lab")
    group.user_set.add(users.owner, users.other)
    Budget.objects.create(group=group, monthly=Decimal(3))
    spend(users.owner, "2")
    spend(users.other, "1")
    with pytest.raises(BudgetSpent, match="group Lab"):
        check(users.owner)
    check(users.administrator)


def test_the_database_is_asked_every_few_seconds_only(users: Users) -> None:
    clock = [0.0]
    spending = Spending(now=lambda: NOW, monotonic=lambda: clock[0])
    check(users.owner, spending)
    Budget.objects.create(user=users.owner, monthly=Decimal(0))
    check(users.owner, spending)
    clock[0] = 5.0
    with pytest.raises(BudgetSpent):
        check(users.owner, spending)


@pytest.mark.django_db(transaction=True)
async def test_a_spent_budget_closes_every_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the name and wherever it is asked for: the chat, the gateway, a batch."""
    user = await User.objects.acreate(username="spender")
    await sync_to_async(services.seed)()
    monkeypatch.setattr(registry, "spending", Spending())
    assert await registry.resolve("default", user=user)
    await Budget.objects.acreate(user=user, monthly=Decimal(0))
    monkeypatch.setattr(registry, "spending", Spending())
    with pytest.raises(BudgetSpent):
        await registry.resolve("default", user=user)
