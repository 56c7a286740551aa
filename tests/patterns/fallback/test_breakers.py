"""When a breaker opens, how long, and how it closes again."""

from __future__ import annotations

import pytest

from webapp.patterns.fallback.breakers import (
    CONSECUTIVE,
    FIRST_PAUSE,
    LONGEST_PAUSE,
    PROBE_PATIENCE,
    WINDOW,
    Health,
    MemoryBreakers,
    Origin,
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> MemoryBreakers:
    return MemoryBreakers(clock)


def fail(breakers: MemoryBreakers, times: int, key: str = "k") -> None:
    for _ in range(times):
        assert breakers.acquire(key) is None
        breakers.failed(key, "boom")


def test_an_unknown_key_is_well(breakers: MemoryBreakers) -> None:
    assert breakers.acquire("k") is None
    breakers.released("k")
    assert breakers.health("k") == Health()
    assert breakers.snapshot() == {}


def test_it_opens_after_five_failures_in_a_row(breakers: MemoryBreakers) -> None:
    fail(breakers, CONSECUTIVE - 1)
    breakers.succeeded("k")
    fail(breakers, CONSECUTIVE)
    assert breakers.acquire("k") == Health("open", FIRST_PAUSE, "boom")
    assert breakers.snapshot() == {"k": Health("open", FIRST_PAUSE, "boom")}


def test_it_opens_when_half_of_ten_calls_in_a_minute_failed(breakers: MemoryBreakers) -> None:
    for _ in range(4):
        breakers.succeeded("k")
        fail(breakers, 1)
    breakers.succeeded("k")
    assert breakers.health("k").state == "closed"
    fail(breakers, 1)
    assert breakers.health("k").state == "open"


def test_failures_of_long_ago_do_not_count(breakers: MemoryBreakers, clock: Clock) -> None:
    for _ in range(8):
        breakers.succeeded("k")
        fail(breakers, 1)
        clock.now += WINDOW / 4
    assert breakers.health("k").state == "closed"


def test_one_probe_is_let_through_and_its_success_closes(breakers: MemoryBreakers, clock: Clock) -> None:
    fail(breakers, CONSECUTIVE)
    clock.now += FIRST_PAUSE
    assert breakers.health("k") == Health("half_open", 0, "boom")
    assert breakers.acquire("k") is None
    assert breakers.acquire("k") == Health("half_open", 1, "being tried again")
    breakers.succeeded("k")
    assert breakers.acquire("k") is None
    fail(breakers, CONSECUTIVE - 1)
    assert breakers.health("k").state == "closed"


def test_each_failed_probe_doubles_the_pause_up_to_its_limit(breakers: MemoryBreakers, clock: Clock) -> None:
    fail(breakers, CONSECUTIVE)
    pauses = []
    for _ in range(6):
        pauses.append(breakers.health("k").seconds)
        clock.now += pauses[-1]
        fail(breakers, 1)
    assert pauses == [30, 60, 120, 240, 480, LONGEST_PAUSE]


def test_calls_that_were_under_way_when_it_opened_do_not_prolong_the_pause(breakers: MemoryBreakers) -> None:
    for _ in range(20):
        assert breakers.acquire("k") is None
    for _ in range(20):
        breakers.failed("k", "boom")
    assert breakers.health("k") == Health("open", FIRST_PAUSE, "boom")


def test_a_probe_that_says_nothing_makes_way_for_another(breakers: MemoryBreakers, clock: Clock) -> None:
    fail(breakers, CONSECUTIVE)
    clock.now += FIRST_PAUSE
    assert breakers.acquire("k") is None
    breakers.released("k")
    assert breakers.acquire("k") is None
    clock.now += PROBE_PATIENCE
    assert breakers.acquire("k") is None


def test_it_cools_for_as_long_as_told_and_the_longest_counts(breakers: MemoryBreakers, clock: Clock) -> None:
    breakers.cool("k", 20, "slow down")
    breakers.cool("k", 5, "again")
    assert breakers.acquire("k") == Health("cooling", 20, "slow down")
    breakers.succeeded("k")
    assert breakers.health("k").state == "cooling"
    clock.now += 20
    assert breakers.acquire("k") is None


def test_a_reset_forgets_a_backend_with_its_models(breakers: MemoryBreakers) -> None:
    for key in ("a", "a/m", "ab", "ab/m"):
        breakers.cool(key, 20)
    breakers.reset("a")
    assert set(breakers.snapshot()) == {"ab", "ab/m"}


# --- the narrowest explanation of the failures


def fail_as(breakers: MemoryBreakers, *origins: Origin) -> None:
    for origin in origins:
        breakers.failed("k", "boom", origin)


def blocked(breakers: MemoryBreakers, origin: Origin) -> bool:
    health = breakers.acquire("k", origin)
    if health is None:
        breakers.released("k")
    return health is not None


def test_one_request_that_fails_blocks_itself_alone(breakers: MemoryBreakers) -> None:
    poison = Origin("ada", "vision", "1")
    fail_as(breakers, *[poison] * CONSECUTIVE)
    assert blocked(breakers, poison)
    assert not blocked(breakers, Origin("ada", "vision", "2"))
    assert not blocked(breakers, Origin("bob", "plain", "3"))


def test_requests_with_images_that_fail_do_not_block_those_without(breakers: MemoryBreakers) -> None:
    fail_as(breakers, *(Origin("ada", "vision", str(number)) for number in range(CONSECUTIVE)))
    assert blocked(breakers, Origin("ada", "vision", "new"))
    assert not blocked(breakers, Origin("ada", "plain", "new"))
    assert not blocked(breakers, Origin("bob", "vision", "new"))


def test_failures_of_one_caller_do_not_block_another(breakers: MemoryBreakers) -> None:
    fail_as(breakers, *(Origin("ada", "plain", str(number)) for number in range(20)))
    assert blocked(breakers, Origin("ada", "plain", "new"))
    assert not blocked(breakers, Origin("bob", "plain", "new"))


def test_failures_of_several_callers_block_everyone(breakers: MemoryBreakers) -> None:
    fail_as(breakers, *(Origin(name, shape, name + shape) for name in ("ada", "bob") for shape in ("plain", "tools", "vision")))
    assert blocked(breakers, Origin("eve", "long", "new"))


def test_one_failure_of_another_caller_is_no_independent_confirmation(breakers: MemoryBreakers) -> None:
    fail_as(breakers, *(Origin("ada", "plain", str(number)) for number in range(CONSECUTIVE)), Origin("bob", "plain", "b"))
    assert not blocked(breakers, Origin("bob", "plain", "c"))
    fail_as(breakers, Origin("bob", "plain", "d"))
    assert blocked(breakers, Origin("bob", "plain", "e"))


def test_a_success_of_another_caller_closes_the_breaker(breakers: MemoryBreakers) -> None:
    poison = Origin("ada", "plain", "1")
    fail_as(breakers, *[poison] * CONSECUTIVE)
    breakers.succeeded("k")
    assert not blocked(breakers, poison)


def test_a_refused_key_pauses_the_backend_with_the_second_model(breakers: MemoryBreakers) -> None:
    breakers.close_account("b", "b/one", 300, "wrong key")
    assert breakers.health("b/one").state == "cooling"
    assert breakers.health("b").state == "closed"
    breakers.close_account("b", "b/one", 300, "wrong key")
    assert breakers.health("b").state == "closed"
    breakers.close_account("b", "b/two", 300, "wrong key")
    assert breakers.health("b").state == "cooling"


def test_two_refused_models_close_the_account_with_the_reason(breakers: MemoryBreakers, clock: Clock) -> None:
    breakers.close_account("b", "b/one", 60, "bad key")
    assert breakers.health("b/one") == Health("cooling", 60, "bad key")
    assert breakers.health("b") == Health()
    breakers.close_account("b", "b/two", 60, "bad key")
    assert breakers.health("b") == Health("cooling", 60, "bad key")


def test_an_account_stays_open_for_refusals_of_other_kinds_and_of_other_backends(breakers: MemoryBreakers, clock: Clock) -> None:
    breakers.cool("b/limited", 60, "rate limit")
    breakers.close_account("c", "c/one", 60, "bad key")
    breakers.close_account("b", "b/one", 60, "bad key")
    assert breakers.health("b") == Health()
    clock.now += 60
    breakers.close_account("b", "b/two", 60, "bad key")
    assert breakers.health("b") == Health(), "the first refusal is over"


def test_a_later_rate_limit_takes_a_refusal_off_the_account(breakers: MemoryBreakers) -> None:
    breakers.close_account("b", "b/one", 60, "bad key")
    breakers.cool("b/one", 120, "rate limit", limited=True)
    assert breakers.health("b/one").limited
    breakers.close_account("b", "b/two", 60, "bad key")
    assert breakers.health("b") == Health()


def test_a_shorter_pause_does_not_replace_a_longer_one(breakers: MemoryBreakers) -> None:
    breakers.cool("k", 60, "first")
    breakers.cool("k", 60, "same end")
    breakers.cool("k", 5, "shorter")
    assert breakers.health("k") == Health("cooling", 60, "first")


@pytest.mark.parametrize(("successes", "failures", "opens"), [(6, 4, False), (5, 5, True), (7, 3, False)])
def test_half_of_the_recent_calls_must_fail(breakers: MemoryBreakers, successes: int, failures: int, opens: bool) -> None:
    for number in range(max(successes, failures)):
        if number < failures:
            breakers.failed("k", "boom")
        if number < successes:
            breakers.succeeded("k")
    breakers.released("k")
    if opens:
        breakers.failed("k", "boom")
    assert (breakers.health("k").state == "open") is opens


def test_calls_that_are_a_minute_old_no_longer_count(breakers: MemoryBreakers, clock: Clock) -> None:
    for _ in range(4):
        breakers.failed("k", "boom")
        breakers.succeeded("k")
    clock.now += WINDOW
    breakers.failed("k", "boom")
    breakers.succeeded("k")
    breakers.failed("k", "boom")
    assert breakers.health("k") == Health()


def test_a_success_after_a_pause_starts_anew(breakers: MemoryBreakers, clock: Clock) -> None:
    fail(breakers, CONSECUTIVE)
    clock.now += FIRST_PAUSE
    assert breakers.acquire("k") is None
    breakers.succeeded("k")
    assert breakers.health("k") == Health()
    fail(breakers, CONSECUTIVE)
    assert breakers.health("k") == Health("open", FIRST_PAUSE, "boom")


def test_only_the_class_of_requests_that_failed_is_held_back(breakers: MemoryBreakers, clock: Clock) -> None:
    """Old failures of others do not widen the class, and those of the present row do."""
    breakers.failed("k", "boom", Origin("old", "plain", "0"))
    breakers.succeeded("k")
    clock.now += WINDOW + 1
    for number in range(CONSECUTIVE):
        breakers.failed("k", "boom", Origin("ada", "tools", str(number)))
    assert breakers.health("k").only == Origin("ada", "tools")
    assert breakers.acquire("k", Origin("ben", "tools", "x")) is None
    held = breakers.acquire("k", Origin("ada", "tools", "x"))
    assert held is not None
    assert held.state == "open"
    clock.now += FIRST_PAUSE
    assert breakers.acquire("k", Origin("ada", "tools", "x")) is None
    probing = breakers.acquire("k", Origin("ada", "tools", "y"))
    assert probing == Health("half_open", 1.0, "being tried again", Origin("ada", "tools"))
    breakers.released("k")
    assert breakers.health("k") == Health("half_open", 0.0, "boom", Origin("ada", "tools"))
