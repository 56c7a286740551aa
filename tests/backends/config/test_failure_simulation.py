"""Simulated loads: the real chain shares them as it shares real ones."""

from __future__ import annotations

import pytest

from webapp.backends.config.failure_simulation import drill, simulate_load
from webapp.backends.config.snapshot import BackendRow, RouteRow, Snapshot, StepRow
from webapp.patterns.fallback.balancing import Balance


def backend(pk: int) -> BackendRow:
    return BackendRow(
        id=pk,
        name=f"b{pk}",
        preset="custom",
        base_url="http://localhost/v1",
        key="",
        headers={},
        timeouts=(5, 60, 60),
        max_concurrency=None,
        prices=None,
        model_prices=(),
        capabilities={},
        unusable="",
        models={},
    )


SNAPSHOT = Snapshot(1, {pk: backend(pk) for pk in (1, 2, 3)}, {})


def route(balance: Balance, *, sticky: bool = False, weights: tuple[int, int] = (1, 1)) -> RouteRow:
    """Two steps that share the load, and a fallback."""
    first, second = weights
    steps = (StepRow(1, "m", weight=first), StepRow(2, "m", weight=second), StepRow(3, "m", group=1))
    return RouteRow("r", balance=balance, sticky=sticky, steps=steps)


async def answered(plan: RouteRow, *conditions: str, usual: dict[tuple[str, str], float] | None = None) -> list[float]:
    load = await simulate_load(plan, SNAPSHOT, conditions, usual=usual)
    assert sum(share.answered for share in load.shares) + load.unanswered == pytest.approx(1)
    return [share.answered for share in load.shares]


@pytest.mark.parametrize(
    ("plan", "shares", "tolerance"),
    [
        (route("ordered"), [1, 0, 0], 0),
        (route("weighted", weights=(3, 1)), [0.75, 0.25, 0], 0.01),
        (route("least-busy"), [0.5, 0.5, 0], 0.05),
        (route("least-busy", weights=(3, 1)), [0.75, 0.25, 0], 0.05),
        (route("weighted", sticky=True), [0.5, 0.5, 0], 0.12),
    ],
)
async def test_shares_follow_the_balance(plan: RouteRow, shares: list[float], tolerance: float) -> None:
    assert await answered(plan) == pytest.approx(shares, abs=tolerance)


async def test_the_fastest_step_gets_most_requests() -> None:
    first, second, _third = await answered(route("fastest"), usual={("b1", "m"): 0.2, ("b2", "m"): 2.0})
    assert first > 0.8
    assert second > 0.03, "some requests explore"


async def test_the_rest_of_the_group_takes_over_before_the_fallback() -> None:
    assert await answered(route("weighted"), "down") == [0, 1, 0]
    assert await answered(route("weighted"), "down", "429") == [0, 0, 1]
    assert await answered(route("ordered"), "full") == [0, 1, 0]


async def test_a_rejected_request_is_not_tried_elsewhere() -> None:
    load = await simulate_load(route("ordered"), SNAPSHOT, ["rejected"])
    assert load.unanswered == 1


async def test_one_request_has_a_trail_and_an_end() -> None:
    result = await drill(route("ordered"), SNAPSHOT, ["down", "slow"])
    assert [(attempt.backend, attempt.error) for attempt in result.attempts] == [("b1", "Unreachable"), ("b2", "TimedOut"), ("b3", "")]
    assert result.served_by is not None
    assert result.served_by.backend == "b3"
