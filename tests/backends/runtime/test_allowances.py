"""All processes share what is left of the limits: requests and tokens per minute, and a token's monthly budget."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from tests.users import Users
from webapp.accounts.models import User
from webapp.backends.config.limits import Limit
from webapp.backends.models import Allowance
from webapp.backends.runtime import allowances
from webapp.backends.runtime.allowances import Standing, Taken
from webapp.backends.services import create_token
from webapp.patterns.errors import BudgetSpent, ChainError, LimitReached
from webapp.patterns.units import duration

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC).timestamp()


def of_user(user: User, **given: Any) -> list[Limit]:
    return [Limit("user", user.pk, "you", **given)]


def take(limits: list[Limit], now: float = NOW, **options: Any) -> Taken:
    taken = allowances.take(limits, now, **options)
    assert taken.refusal is None
    return taken


def refused(limits: list[Limit], now: float = NOW, **options: Any) -> ChainError:
    refusal = allowances.take(limits, now, **options).refusal
    assert refusal is not None
    return refusal


def test_requests_beyond_the_limit_wait_for_the_next_to_flow_back(users: Users) -> None:
    limits = of_user(users.owner, requests=3)
    assert [take(limits).requests for _ in range(3)] == [Standing(3, 2, 20.0), Standing(3, 1, 40.0), Standing(3, 0, 60.0)]
    error = refused(limits)
    assert isinstance(error, LimitReached)
    assert error.message == "Rate limit reached: you may make 3 requests per minute. Try again in 20 seconds."
    assert error.retry_after == 20
    assert refused(limits, NOW + 19).retry_after == pytest.approx(1)
    take(limits, NOW + 20)
    refused(limits, NOW + 20)


def test_a_long_pause_saves_up_no_more_than_a_minutes_worth(users: Users) -> None:
    limits = of_user(users.owner, requests=2)
    take(limits)
    for _ in range(2):
        take(limits, NOW + 3600)
    refused(limits, NOW + 3600)


def test_tokens_that_were_used_beyond_the_limit_are_paid_back_first(users: Users) -> None:
    limits = of_user(users.owner, tokens=600)
    take(limits)
    allowances.charge(limits, NOW, tokens=1800, cost=0)
    assert refused(limits).retry_after == pytest.approx(120, abs=1)
    refused(limits, NOW + 119)
    take(limits, NOW + 121)


def test_a_spent_budget_ends_with_its_month(users: Users) -> None:
    token = create_token(user=users.owner)[0]
    limits = [Limit("token", token.pk, "this token", budget=Decimal("0.5"))]
    take(limits)
    allowances.charge(limits, NOW, tokens=10, cost=0.3)
    take(limits)
    allowances.charge(limits, NOW, tokens=10, cost=0.2)
    error = refused(limits)
    assert isinstance(error, BudgetSpent)
    december = datetime(2026, 12, 1, tzinfo=UTC).timestamp()
    assert error.retry_after == december - NOW
    take(limits, december)


def test_a_clock_that_steps_back_gives_nothing_away(users: Users) -> None:
    limits = of_user(users.owner, requests=1)
    take(limits)
    refused(limits, NOW - 3600)
    refused(limits)


def test_a_limit_of_nothing_lets_nothing_in(users: Users) -> None:
    assert refused(of_user(users.owner, requests=0)).retry_after == 24 * 3600
    assert "Try again in 24 hours" in refused(of_user(users.owner, tokens=0)).message


def test_the_tightest_of_several_limits_counts_and_a_refusal_takes_from_none(users: Users) -> None:
    group = Group.objects.create(name="Lab")
    own, shared = Limit("user", users.owner.pk, "you", requests=9), Limit("group", group.pk, "all members of Lab together", requests=1)
    assert take([own, shared]).requests == Standing(1, 0, 60.0)
    for _ in range(3):
        assert refused([own, shared]).message.startswith("Rate limit reached: all members of Lab together may make 1 request per minute.")
    assert Allowance.objects.get(user=users.owner).requests_left == 8
    take([Limit("user", users.other.pk, "you", requests=9)])


def test_some_of_a_limit_is_left_for_others(users: Users) -> None:
    limits = of_user(users.owner, requests=10, tokens=1000)
    for _ in range(8):
        take(limits, spare=0.2)
    refused(limits, spare=0.2)
    take(limits)
    few = of_user(users.other, requests=2)
    take(few, spare=0.2)
    take(few, spare=0.2)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.2, "1 second"), (1, "1 second"), (100.2, "101 seconds"), (121, "3 minutes"), (7201, "3 hours"), (9e4, "25 hours")],
)
def test_waits_are_said_as_people_say_them(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.django_db(transaction=True)
def test_two_connections_never_both_take_the_last_request(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = allowances._problems

    def slowly(*args: Any) -> list[ChainError]:
        time.sleep(0.005)  # between what is read and what is written
        return list(problems(*args))

    monkeypatch.setattr(allowances, "_problems", slowly)
    user = User.objects.create(username="racer")
    limits = of_user(user, requests=5)
    threads = 4
    ready = Barrier(threads)

    def grab() -> int:
        try:
            ready.wait()
            return sum(allowances.take(limits, NOW).refusal is None for _ in range(4))
        finally:
            connection.close()

    with ThreadPoolExecutor(threads) as pool:
        taken = [future.result() for future in [pool.submit(grab) for _ in range(threads)]]
    assert sum(taken) == 5
    assert Allowance.objects.get().requests_left == 0


def test_taking_and_charging_cost_few_queries(users: Users, django_assert_max_num_queries: Any) -> None:
    limits = of_user(users.owner, requests=5, tokens=5)
    take(limits, time.time())
    with django_assert_max_num_queries(4):  # the savepoint of the test included
        take(limits, time.time())
