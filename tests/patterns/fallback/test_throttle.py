"""Backoff, and a concurrency that follows what the server can take."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.patterns.virtual_time import run_virtually, virtual_clock
from webapp.patterns import errors
from webapp.patterns.fallback.throttle import Clock, ConcurrencyLimiter, Retry, RetryDecision, retry_after_of, verdict_on


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (errors.RateLimited("slow down"), RetryDecision.SLOWER),
        (errors.AllCooling("later"), RetryDecision.SLOWER),
        (errors.LimitReached("later", rule="60 requests per minute", retry_after=2.0), RetryDecision.SLOWER),
        (errors.AllFailed("all", cause=errors.RateLimited("slow down")), RetryDecision.SLOWER),
        (errors.AllFailed("all", cause=errors.ServerFailed("500")), RetryDecision.AGAIN),
        (errors.Unreachable("refused"), RetryDecision.AGAIN),
        (errors.TimedOut("stalled"), RetryDecision.AGAIN),
        (errors.BadAnswer("HTML"), RetryDecision.AGAIN),
        (errors.StreamBroken("cut"), RetryDecision.AGAIN),
        (errors.Conflict("409"), RetryDecision.AGAIN),
        (errors.QuotaExhausted("pay"), RetryDecision.FINAL),
        (errors.AuthenticationFailed("key"), RetryDecision.FINAL),
        (errors.RequestRejected("bad"), RetryDecision.FINAL),
        (errors.AllFailed("all", cause=errors.RequestRejected("bad")), RetryDecision.FINAL),
        (errors.AllFailed("all"), RetryDecision.FINAL),
        (errors.InputError("bad"), RetryDecision.FINAL),
        (ValueError("a bug"), RetryDecision.FINAL),
    ],
)
def test_each_error_says_whether_to_ask_again(error: Exception, verdict: RetryDecision) -> None:
    assert verdict_on(error) is verdict


def test_retry_after_is_found_on_the_error_or_its_cause() -> None:
    assert retry_after_of(errors.RateLimited("", retry_after=3)) == 3
    assert retry_after_of(errors.AllCooling("", retry_after=4)) == 4
    assert retry_after_of(errors.AllFailed("", cause=errors.RateLimited("", retry_after=5))) == 5
    assert retry_after_of(errors.AllFailed("")) is None
    assert retry_after_of(ValueError()) is None


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_backoff_doubles_up_to_its_cap_and_chance_takes_at_most_half(failures: int, chance: float) -> None:
    retry = Retry(base=0.5, cap=60)
    assert 0.25 <= retry.delay(failures, chance) <= 60
    assert retry.delay(failures, chance) >= retry.delay(failures, 0) / 2
    assert [retry.delay(number, 0) for number in (1, 2, 3)] == [0.5, 1, 2]


def test_a_rate_limit_halves_once_for_all_that_were_under_way() -> None:
    async def scenario() -> None:
        gate = ConcurrencyLimiter(8, clock=virtual_clock())
        began = [await gate.enter() for _ in range(8)]
        await asyncio.sleep(0.1)
        for time in began:
            gate.throttled(time, 2.0)
        assert gate.limit == 4
        assert gate.allowed == 1, "one request probes"
        began_again = await gate.enter()
        assert began_again == pytest.approx(2.1)
        gate.succeeded()
        assert gate.limit == 4.25
        assert gate.allowed == 4

    run_virtually(scenario())


def test_successes_bring_the_limit_back_slowly_and_no_further_than_it_was() -> None:
    async def scenario() -> None:
        gate = ConcurrencyLimiter(8, clock=virtual_clock())
        gate.throttled(await gate.enter(), 0.0)
        limits = []
        for _ in range(60):
            await gate.enter()
            gate.succeeded()
            limits.append(gate.limit)
        assert limits == sorted(limits)
        assert limits[3] < 5 < limits[5]
        assert limits[-1] == 8

    run_virtually(scenario())


def test_a_probe_that_fails_closes_the_gate_for_longer() -> None:
    async def scenario() -> list[float]:
        gate = ConcurrencyLimiter(4, Retry(base=1, cap=8), virtual_clock())
        times = []
        for _ in range(6):
            began = await gate.enter()
            times.append(began)
            gate.throttled(began, None)
        assert gate.limit == 1
        return times

    assert run_virtually(scenario()) == [0, 1, 3, 7, 15, 23]


def test_an_absurd_retry_after_does_not_close_the_gate_for_ever() -> None:
    async def scenario() -> float:
        gate = ConcurrencyLimiter(4, clock=virtual_clock())
        gate.throttled(await gate.enter(), 1e9)
        return await gate.enter()

    assert run_virtually(scenario()) == 3600


def test_without_adaptation_a_rate_limit_changes_nothing() -> None:
    async def scenario() -> None:
        gate = ConcurrencyLimiter(4, clock=virtual_clock(), adaptive=False)
        gate.throttled(await gate.enter(), 10.0)
        assert (gate.limit, await gate.enter()) == (4, 0)

    run_virtually(scenario())


async def test_a_turn_given_to_someone_who_left_goes_to_the_next() -> None:
    gate = ConcurrencyLimiter(1)
    await gate.enter()
    first, second = asyncio.ensure_future(gate.enter()), asyncio.ensure_future(gate.enter())
    await asyncio.sleep(0)
    gate.leave()
    first.cancel()
    await asyncio.wait_for(second, 1)
    third = asyncio.ensure_future(gate.enter())
    await asyncio.sleep(0)
    third.cancel()
    await asyncio.sleep(0)
    gate.leave()
    assert gate.running == 0


def test_the_clock_of_the_world_is_the_default() -> None:
    assert Clock().now() > 0
    assert 0 <= Clock().chance() < 1
