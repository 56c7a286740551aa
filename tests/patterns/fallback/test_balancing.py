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
from webapp.patterns.fallback import balancing
from webapp.patterns.fallback.balancing import EXPLORED, Balance, LoadBalancer, LoadTracker, session_of

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


# --- the arithmetic, without servers


class Named:
    """A backend of which only the name counts."""

    capabilities: dict[str, bool] = {}

    def __init__(self, name: str) -> None:
        self.name = name


def step(name: str, **fields: Any) -> Step:
    return Step(Named(name), "m", **fields)  # type: ignore[arg-type]  # a name is all that the balancer reads


def names(steps: list[Step]) -> list[str]:
    return [each.backend.name for each in steps]


def test_a_conversation_ties_requests_together() -> None:
    assert session_of(HELLO.with_options(conversation="c1", user="u")) == "conversation:c1"
    assert session_of(HELLO.with_options(conversation=5, user="u")) == "user:u"


def test_the_time_to_first_token_is_a_moving_average() -> None:
    tracker, one = LoadTracker(), step("one")
    assert tracker.first_token(one) is None
    tracker.answered(one, 1.0)
    assert tracker.first_token(one) == 1.0
    tracker.answered(one, 2.0)
    second = tracker.first_token(one)
    assert second is not None
    assert 1.0 < second < 1.5
    tracker.answered(one, 2.0)
    third = tracker.first_token(one)
    assert third is not None
    assert second < third < 2.0
    assert third - second < second - 1.0


def fastest(tracker: LoadTracker, *draws: float) -> LoadBalancer:
    given = iter(draws)
    return LoadBalancer("fastest", tracker=tracker, random=lambda: next(given))


def test_running_calls_lengthen_the_expected_wait_by_an_eighth_each() -> None:
    tracker, quick, slow = LoadTracker(), step("quick"), step("slow")
    tracker.answered(quick, 1.0)
    tracker.answered(slow, 1.5)
    assert names(fastest(tracker, 0.5).order([slow, quick], "")) == ["quick", "slow"]
    for _ in range(3):
        tracker.started(quick)
    assert names(fastest(tracker, 0.5).order([slow, quick], "")) == ["quick", "slow"]  # 1.375 s against 1.5 s
    for _ in range(2):
        tracker.started(quick)
    assert names(fastest(tracker, 0.5).order([slow, quick], "")) == ["slow", "quick"]  # 1.625 s


def test_steps_without_a_time_come_first_and_share_the_load() -> None:
    tracker, known, new, newer = LoadTracker(), step("known"), step("new"), step("newer")
    tracker.answered(known, 0.001)
    tracker.started(new)
    assert names(fastest(tracker, 0.5).order([known, new, newer], "")) == ["newer", "new", "known"]
    tracker.started(newer)
    tracker.started(newer)
    assert names(fastest(tracker, 0.5).order([known, new, newer], "")) == ["new", "newer", "known"]


@pytest.mark.parametrize(("draw", "first"), [(0.0, "b"), (0.49, "b"), (0.5, "c"), (0.99, "c")])
def test_an_explored_step_is_any_but_the_fastest(draw: float, first: str) -> None:
    tracker, steps = LoadTracker(), [step("a"), step("b"), step("c")]
    for seconds, each in enumerate(steps, 1):
        tracker.answered(each, float(seconds))
    assert names(fastest(tracker, 0.0, draw).order(steps, ""))[0] == first
    assert names(fastest(tracker, EXPLORED).order(steps, ""))[0] == "a"


def test_each_group_is_balanced_by_itself_and_none_is_lost() -> None:
    balancer = LoadBalancer("weighted")
    steps = [step("a", group=0), step("b", weight=5, group=0), step("c", group=1), step("d", group=2), step("e", weight=5, group=2)]
    assert names(balancer.order(steps, "")) == ["b", "a", "c", "e", "d"]
    sticky = LoadBalancer(sticky=True)
    assert sorted(names(sticky.order(steps, "s"))[:2]) == ["a", "b"]
    assert len(sticky.order(steps, "s")) == 5
    assert names(LoadBalancer().order(steps, "s")) == ["a", "b", "c", "d", "e"]
    assert names(sticky.order(steps, "")) == ["a", "b", "c", "d", "e"]


def test_the_oldest_pin_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(balancing, "MAX_PINS", 2)
    balancer, steps = LoadBalancer(sticky=True), [step("a"), step("b")]
    others = {session: next(each for each in reversed(balancer.order(steps, session))) for session in ("one", "two", "three")}
    for session in ("one", "two"):
        balancer.pin(session, others[session])
    assert all(balancer.order(steps, session)[0] is others[session] for session in ("one", "two"))
    balancer.pin("three", others["three"])
    assert [balancer.order(steps, session)[0] is others[session] for session in ("one", "two", "three")] == [False, True, True]


def test_sessions_are_shared_by_weight() -> None:
    balancer = LoadBalancer(sticky=True)
    steps = [step("heavy", weight=3), step("light")]
    first = Counter(names(balancer.order(steps, f"session {number}"))[0] for number in range(2000))
    assert 1400 < first["heavy"] < 1600


def test_a_session_always_gets_the_same_part_and_parts_fill_the_range() -> None:
    parts = [balancing._part_of(f"session {number}") for number in range(2000)]
    assert all(0 < part < 1 for part in parts)
    assert 950 < sum(part < 0.5 for part in parts) < 1050
    assert balancing._part_of("\ud800") == balancing._part_of("\ud800")
    # other processes and later releases must agree, or every session moves
    assert balancing._part_of("session 1") == pytest.approx(0.7551995, abs=1e-7)


@pytest.mark.parametrize(("draw", "order"), [(0.19, ["new", "a", "b"]), (0.2, ["a", "b"])])
def test_a_canary_is_asked_first_by_its_share_and_never_as_a_fallback(draw: float, order: list[str]) -> None:
    balancer = LoadBalancer(random=lambda: draw)
    balancer.canary_share = 0.2
    steps = [step("a"), step("b"), step("new", group=balancing.CANARY)]
    assert names(balancer.order(steps, "")) == order


def test_a_session_meets_the_canary_always_or_never() -> None:
    balancer = LoadBalancer(sticky=True, random=lambda: 0.0)
    balancer.canary_share = 0.3
    steps = [step("a"), step("b"), step("new", group=balancing.CANARY)]
    met = [names(balancer.order(steps, f"session {number}")) for number in range(500)]
    assert met == [names(balancer.order(steps, f"session {number}")) for number in range(500)]
    assert 100 < sum(order[0] == "new" for order in met) < 200
    plain = LoadBalancer(sticky=True)
    assert all(order[-2:] == names(plain.order(steps[:2], f"session {number}")) for number, order in enumerate(met))
