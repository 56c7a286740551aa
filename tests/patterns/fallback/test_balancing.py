"""Steps of a group share the load."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.upstream import Upstream, says, status
from webapp.patterns import AttemptLog, Chain, MemoryBreakers, OpenAIBackend, Request, Step, Timeouts
from webapp.patterns.fallback.balancing import Balance, LoadBalancer, LoadTracker, session_of

HELLO = Request.chat([{"role": "user", "content": "Hi"}])
Servers = dict[str, Upstream]


@pytest.fixture
async def backends(make_upstream: Callable[..., Upstream]) -> AsyncIterator[dict[str, OpenAIBackend]]:
    """Three servers; `small` takes one call at a time."""
    found = {}
    for name, places in (("one", None), ("two", None), ("small", 1)):
        server = make_upstream()
        server.default = says(f"from {name}")
        found[name] = OpenAIBackend(name, server.base_url, timeouts=Timeouts(first_token=5), max_concurrency=places)
    yield found
    for backend in found.values():
        await backend.aclose()


def chain(steps: list[Step], balance: Balance = "ordered", *, random: Callable[[], float] = lambda: 0.99, **options: Any) -> Chain:
    return Chain("r", steps, breakers=MemoryBreakers(), balancer=LoadBalancer(balance, random=random, **options))


async def served(chain: Chain, request: Request = HELLO) -> str:
    log = AttemptLog()
    await chain.send(request, trail=log)
    return next(attempt.backend for attempt in log.attempts if attempt.outcome == "ok")


async def test_in_order_the_first_step_serves_until_it_is_full(backends: dict[str, OpenAIBackend]) -> None:
    shared = chain([Step(backends["small"], "m"), Step(backends["one"], "m")])
    assert await served(shared) == "small"
    assert Counter(await asyncio.gather(*(served(shared) for _ in range(6))))["one"] >= 4


async def test_a_full_backend_does_not_spill_into_its_fallback_group(backends: dict[str, OpenAIBackend]) -> None:
    grouped = chain([Step(backends["small"], "m"), Step(backends["one"], "m", group=1)])
    assert set(await asyncio.gather(*(served(grouped) for _ in range(4)))) == {"small"}


async def test_weights_are_kept_exactly(backends: dict[str, OpenAIBackend]) -> None:
    weighted = chain([Step(backends["one"], "m", weight=3), Step(backends["two"], "m")], "weighted")
    assert Counter([await served(weighted) for _ in range(40)]) == {"one": 30, "two": 10}


async def test_the_least_busy_step_is_asked_for_its_weight(backends: dict[str, OpenAIBackend]) -> None:
    tracker = LoadTracker()
    balancer = LoadBalancer("least-busy", tracker=tracker, random=lambda: 0.5)
    one, two = Step(backends["one"], "m", weight=2), Step(backends["two"], "m")
    for step in (one, one, one, two):
        tracker.started(step)
    assert balancer.order([one, two], "")[0] is two
    tracker.started(two)
    assert balancer.order([one, two], "")[0] is one


async def test_running_calls_are_counted_down_again_whatever_happens(backends: dict[str, OpenAIBackend], make_upstream: Any) -> None:
    broken = make_upstream()
    broken.default = status(500)
    failing = OpenAIBackend("failing", broken.base_url)
    tracker = LoadTracker()
    steps = [Step(failing, "m"), Step(backends["one"], "m")]
    shared = Chain("r", steps, breakers=MemoryBreakers(), balancer=LoadBalancer("ordered", tracker=tracker))
    await shared.send(HELLO)
    async for _ in shared.stream(HELLO):
        pass
    assert [tracker.running(step) for step in steps] == [0, 0]
    await failing.aclose()


async def test_the_fastest_step_is_preferred_and_the_others_are_explored(backends: dict[str, OpenAIBackend]) -> None:
    tracker, numbers = LoadTracker(), iter([0.5, 0.05, 0.0])
    balancer = LoadBalancer("fastest", tracker=tracker, random=lambda: next(numbers))
    one, two = Step(backends["one"], "m"), Step(backends["two"], "m")
    tracker.answered(one, 2.0)
    tracker.answered(two, 0.1)
    assert balancer.order([one, two], "")[0] is two
    assert balancer.order([one, two], "")[0] is one  # the tenth request looks at the other one


async def test_a_session_stays_on_one_backend_in_every_process(backends: dict[str, OpenAIBackend]) -> None:
    steps = [Step(backends["one"], "m"), Step(backends["two"], "m")]
    request = replace(HELLO, session="conversation:1")
    first = chain(steps, "least-busy", sticky=True)
    here = {await served(first, request) for _ in range(26)}
    there = {await served(chain(steps, "least-busy", sticky=True), request) for _ in range(3)}
    assert len(here) == 1
    assert here == there
    spread = {await served(first, replace(HELLO, session=f"s{number}")) for number in range(20)}
    assert spread == {"one", "two"}


async def test_a_session_moves_once_when_its_backend_fails(backends: dict[str, OpenAIBackend], make_upstream: Any) -> None:
    moving = make_upstream()
    moving.default = says("from moving")
    home = OpenAIBackend("home", moving.base_url)
    steps = [Step(home, "m"), Step(backends["one"], "m"), Step(backends["two"], "m")]
    sticky = chain(steps, sticky=True)
    request = next(r for r in (replace(HELLO, session=f"s{n}") for n in range(100)) if sticky_home(sticky, steps, r) == "home")
    assert await served(sticky, request) == "home"
    moving.default = status(500)
    moved = await served(sticky, request)
    assert moved in {"one", "two"}
    moving.default = says("from moving")
    assert {await served(sticky, request) for _ in range(5)} == {moved}
    await home.aclose()


def sticky_home(sticky: Chain, steps: list[Step], request: Request) -> str:
    return LoadBalancer(sticky=True).order(steps, request.session)[0].backend.name


@pytest.mark.parametrize(
    ("request_", "session"),
    [
        (replace(HELLO, session="x-session-id:1"), "x-session-id:1"),
        (HELLO.with_options(prompt_cache_key="k"), "prompt_cache_key:k"),
        (HELLO.with_options(user="ada"), "user:ada"),
        (HELLO.with_options(user={"not": "text"}), ""),
        (HELLO, ""),
    ],
)
def test_the_session_comes_from_what_clients_send(request_: Request, session: str) -> None:
    assert session_of(request_) == session


def test_a_session_survives_changes_of_the_request() -> None:
    request = replace(HELLO, session="s")
    assert request.with_messages([]).session == request.with_options(temperature=1).session == "s"
