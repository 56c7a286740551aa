"""Mirrors and canaries: a candidate tried with real requests."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.management import CommandError, call_command
from django.test import Client
from django.utils import timezone

from tests.backends.conftest import add, route
from tests.upstream import Reply, Upstream, error, says, silence
from tests.users import Users
from webapp.backends import services
from webapp.backends.models import Attempt, Backend, MirrorSample, Rollout, Route
from webapp.backends.rollouts import canary, mirroring
from webapp.backends.rollouts.comparison import similarity
from webapp.backends.runtime import registry
from webapp.patterns.types import AttemptLog, Request

pytestmark = pytest.mark.django_db(transaction=True)
MakeUpstream = Callable[..., Upstream]


def server(make: MakeUpstream, *replies: Reply) -> Upstream:
    """An upstream that gives these replies, and the last one again."""
    made = make()
    made.script(*replies)
    made.default = replies[-1]
    return made


async def ask(users: Users, text: str = "hello", *, stream: bool = True) -> str:
    """One request of the owner to the route, recorded as the chat does; its answer."""
    trail, request = AttemptLog(), Request.chat([{"role": "user", "content": text}])
    chain = await registry.resolve("team", user=users.owner)
    try:
        if stream:
            parts = [delta.text async for packet in chain.stream(request, trail=trail) for delta in packet.deltas]
            return "".join(parts)
        return str((await chain.send(request, trail=trail)).body["choices"][0]["message"]["content"])
    finally:
        registry.record(trail, request_id=uuid.uuid4(), source="chat", user_id=users.owner.pk, route="team")


async def start(kind: str, percent: float = 100, **limits: Any) -> Rollout:
    def create() -> Rollout:
        candidate = Backend.objects.get(name="new")
        return services.start_rollout(
            route=Route.objects.get(name="team"), kind=kind, backend=candidate, model="m", percent=percent, **limits
        )

    return await sync_to_async(create)()


async def prepare(old: Upstream, new: Upstream) -> None:
    await add("old", old.base_url, "m")
    await add("new", new.base_url, "m")
    await route("team", "old/m")


async def samples(count: int) -> list[MirrorSample]:
    """The samples, once there are as many."""
    for _ in range(200):
        found = [row async for row in MirrorSample.objects.order_by("id")]
        if len(found) >= count:
            await registry.flush()
            return found
        await asyncio.sleep(0.02)
    raise AssertionError(f"{len(found)} samples instead of {count}")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_mirror_gets_copies_that_no_user_sees_or_pays(
    closing: None, make_upstream: MakeUpstream, users: Users, stream: bool
) -> None:
    old, new = server(make_upstream, says("the old answer is here")), server(make_upstream, says("the new answer is here"))
    await prepare(old, new)
    await start("mirror")
    assert await ask(users, "a question", stream=stream) == "the old answer is here"
    [sample] = await samples(1)
    assert sample.stable == "old/m"
    assert sample.similarity == pytest.approx(0.8)
    assert sample.candidate_ms is not None
    assert sample.error == ""
    copy = new.requests[-1].body
    assert copy["messages"] == [{"role": "user", "content": "a question"}]
    assert copy["model"] == "m"
    attempts = {row.source: row async for row in Attempt.objects.all()}
    assert attempts["mirror"].user_id is None
    assert attempts["mirror"].backend == "new"
    assert attempts["chat"].user_id == users.owner.pk
    assert attempts["chat"].backend == "old"


async def test_failures_of_a_candidate_are_counted_and_reach_no_user(closing: None, make_upstream: MakeUpstream, users: Users) -> None:
    await prepare(server(make_upstream, says("fine")), server(make_upstream, error("the model is broken", code=500)))
    await start("mirror")
    assert await ask(users) == "fine"
    [sample] = await samples(1)
    assert sample.error
    assert sample.similarity is None


async def test_a_mirror_that_hangs_delays_nothing_and_further_copies_are_dropped(
    closing: None, make_upstream: MakeUpstream, users: Users
) -> None:
    new = server(make_upstream, silence)
    await prepare(server(make_upstream, says("fine")), new)
    await start("mirror")
    for _ in range(mirroring.AT_ONCE + 3):
        assert await asyncio.wait_for(ask(users), 5) == "fine"
    await asyncio.to_thread(new.wait_for, mirroring.AT_ONCE)
    await asyncio.sleep(0.05)
    assert len(new.requests) == mirroring.AT_ONCE


async def test_a_share_of_nothing_and_a_stopped_mirror_copy_nothing(closing: None, make_upstream: MakeUpstream, users: Users) -> None:
    new = server(make_upstream, says("new"))
    await prepare(server(make_upstream, says("fine")), new)
    rollout = await start("mirror")
    await sync_to_async(services.stop_rollout)(rollout=rollout)
    await ask(users)
    await asyncio.sleep(0.1)
    assert new.requests == []
    sample = mirroring.sampler(0.25, iter([0.2, 0.3]).__next__)
    marked, other = AttemptLog(), AttemptLog()
    sample(marked)
    sample(other)
    assert (marked.answer, marked.mirrored, other.answer, other.mirrored) == ([], True, None, False)


async def test_a_canary_answers_its_share_and_the_route_answers_where_it_fails(
    closing: None, make_upstream: MakeUpstream, users: Users
) -> None:
    new = server(make_upstream, says("from the new one"), error("broken", code=500))
    await prepare(server(make_upstream, says("from the old one")), new)
    await start("canary")
    assert await ask(users) == "from the new one"
    assert await ask(users) == "from the old one"
    assert len(new.requests) == 2


async def test_a_canary_without_a_share_of_this_request_is_not_asked(closing: None, make_upstream: MakeUpstream, users: Users) -> None:
    old, new = server(make_upstream, says("old")), server(make_upstream, says("new"))
    await prepare(old, new)
    await start("canary", percent=30)
    answers = [await ask(users) for _ in range(60)]
    assert 4 <= answers.count("new") <= 34
    assert answers.count("old") + answers.count("new") == 60


async def test_a_failing_canary_is_rolled_back_with_a_note(
    closing: None, make_upstream: MakeUpstream, users: Users, caplog: pytest.LogCaptureFixture
) -> None:
    new = server(make_upstream, error("bad", code=400, param="x"))
    await prepare(server(make_upstream, says("fine")), new)
    rollout = await start("canary", min_samples=5)
    old, candidate = (
        [
            Attempt(
                request_id=uuid.uuid4(), created_at=timezone.now(), source="chat", route="team", backend=name, model="m", outcome=outcome
            )
            for outcome in outcomes
        ]
        for name, outcomes in (("old", ["ok"] * 20), ("new", ["ok", "failed", "failed", "ok"]))
    )
    await Attempt.objects.abulk_create(old + candidate)
    assert await sync_to_async(canary.check_all)() == []
    extra = Attempt(request_id=uuid.uuid4(), created_at=timezone.now(), source="chat", route="team", backend="new", model="m", outcome="ok")
    await extra.asave()
    assert [one.pk for one in await sync_to_async(canary.check_all)()] == [rollout.pk]
    await rollout.arefresh_from_db()
    assert rollout.state == Rollout.State.ROLLED_BACK
    assert "40.0 % of 5 attempts failed" in rollout.note
    assert "rolled back" in caplog.text
    assert await ask(users) == "fine"
    assert new.requests == []
    assert await sync_to_async(canary.check_all)() == []


def side(attempts: int, failed: int = 0, latency_ms: float | None = 100.0, timed: int = 50) -> canary.Side:
    return canary.Side(attempts, failed, latency_ms, timed)


@pytest.mark.parametrize(
    ("candidate", "stable", "word"),
    [
        (side(29, 29), side(100), ""),
        (side(30, 2), side(100), "failed"),
        (side(30, 2), side(100, 3), ""),
        (side(30, latency_ms=190.0), side(100), ""),
        (side(30, latency_ms=210.0), side(100), "median latency"),
        (side(30, latency_ms=210.0, timed=9), side(100), ""),
        (side(30, latency_ms=None, timed=0), side(100), ""),
        (side(30), side(0, latency_ms=None, timed=0), ""),
    ],
)
def test_a_canary_is_judged_against_the_routes_own_steps(candidate: canary.Side, stable: canary.Side, word: str) -> None:
    rollout = Rollout(min_samples=30, max_error_rise=5, max_latency_ratio=2)
    found = canary.problem(rollout, candidate, stable)
    assert word in found
    assert bool(found) == bool(word)


def test_similar_texts_share_words_in_the_same_order() -> None:
    assert similarity("", "") == 1
    assert similarity("a b c d", "a b c d") == 1
    assert similarity("a b c d", "w x y z") == 0
    assert 0.4 < similarity("one two three four", "one two five six") < 0.6
    assert similarity("word " * 100_000, "word " * 100_000) == 1


def make(users: Users) -> Route:
    old, new = (services.add_backend(name=name, base_url=f"http://localhost:9/{name}/v1") for name in ("old", "new"))
    services.add_model(backend=new, name="m")
    return services.set_route(name="team", steps=[(old, "m")])


def test_the_command_starts_and_stops(users: Users) -> None:
    made, said = make(users), StringIO()
    call_command("add_rollout", "--route", "team", "--step", "new/m", "--canary", "5", "--min-samples", "50", stdout=said)
    rollout = Rollout.objects.get(pk=int(said.getvalue()))
    assert (rollout.kind, rollout.percent, rollout.min_samples, rollout.max_latency_ratio) == ("canary", 5, 50, 2)
    call_command("add_rollout", "--route", "team", "--step", "new/m", "--canary", "10", stdout=StringIO())
    assert [one.state for one in made.rollouts.order_by("id")] == ["stopped", "running"]
    call_command("add_rollout", "--route", "team", "--stop")
    assert not made.rollouts.filter(state="running").exists()
    for wrong in (["--step", "old/m", "--mirror", "5"], ["--step", "new/m", "--mirror", "500"], ["--step", "nothing", "--mirror", "5"]):
        with pytest.raises(CommandError):
            call_command("add_rollout", "--route", "team", *wrong)


def test_the_page_starts_shows_and_stops(as_administrator: Client, users: Users) -> None:
    made = make(users)
    form = {"route": made.pk, "kind": "mirror", "percent": "10"}
    form |= {"min_samples": "30", "max_error_rise": "5", "max_latency_ratio": "2"}
    form["candidate"] = Backend.objects.get(name="new").offered.get().pk
    address = as_administrator.post("/rollouts/", form).headers["Location"]
    assert "Nothing to compare yet" in as_administrator.get(address).content.decode()
    rollout = Rollout.objects.get()
    for number in range(120):
        failed = number % 10 == 9
        MirrorSample.objects.create(
            rollout=rollout,
            stable="old/m",
            stable_ms=100 + number,
            candidate_ms=200 + number,
            similarity=None if failed else number / 120,
            error="TimedOut" if failed else "",
        )
    page = as_administrator.get(address).content.decode()
    for expected in ("120 compared", "TimedOut: 12", "12 of 120", "Similarity of the texts", "<polyline"):
        assert expected in page, expected
    assert as_administrator.post(f"{address}stop/").status_code == 302
    assert "administrator stopped it." in as_administrator.get(address).content.decode()
    assert "old/m is already a step" not in as_administrator.post("/rollouts/", form).content.decode()


def test_a_canary_has_a_page(as_administrator: Client, users: Users) -> None:
    made = make(users)
    rollout = services.start_rollout(route=made, kind="canary", backend=Backend.objects.get(name="new"), model="m", percent=10)
    common: dict[str, Any] = {"created_at": timezone.now(), "source": "gateway", "route": "team", "model": "m", "outcome": "ok"}
    Attempt.objects.bulk_create(
        [Attempt(request_id=uuid.uuid4(), backend=name, first_token_ms=ms, **common) for name, ms in (("old", 120), ("new", 340))]
    )
    page = as_administrator.get(f"/rollouts/{rollout.pk}/").content.decode()
    for expected in ("120 ms", "340 ms", "Judged after 30 attempts"):
        assert expected in page, expected


@pytest.mark.parametrize(("balance", "groups"), [("ordered", [0, 0]), ("weighted", [0, 1])])
def test_a_promoted_canary_is_the_first_step_and_the_old_steps_are_the_fallback(
    as_administrator: Client, users: Users, balance: str, groups: list[int]
) -> None:
    made = make(users)
    Route.objects.filter(pk=made.pk).update(balance=balance)
    made.refresh_from_db()
    before = services.version_of(made)
    rollout = services.start_rollout(route=made, kind="canary", backend=Backend.objects.get(name="new"), model="m", percent=10)
    assert f"/rollouts/{rollout.pk}/promote/" in as_administrator.get(f"/rollouts/{rollout.pk}/").content.decode()
    page = as_administrator.post(f"/rollouts/{rollout.pk}/promote/", follow=True).content.decode()
    assert "new/m is now the first step of team." in page
    assert "administrator promoted it." in page
    assert f"/rollouts/{rollout.pk}/promote/" not in page
    made.refresh_from_db()
    assert [str(step) for step in made.steps.all()] == ["new/m", "old/m"]
    assert [step.group for step in made.steps.all()] == groups
    assert services.version_of(made) != before


async def test_a_promoted_candidate_answers_all_requests(closing: None, make_upstream: MakeUpstream, users: Users) -> None:
    old = server(make_upstream, says("old"))
    await prepare(old, server(make_upstream, says("new")))
    rollout = await start("canary", percent=0.1)
    assert await sync_to_async(services.promote_rollout)(rollout=rollout)
    assert [await ask(users) for _ in range(5)] == ["new"] * 5
    assert old.requests == []


def test_a_step_that_was_added_meanwhile_is_moved_and_not_doubled(users: Users) -> None:
    made, new = make(users), Backend.objects.get(name="new")
    rollout = services.start_rollout(route=made, kind="canary", backend=new, model="m", percent=10)
    made.steps.create(backend=new, model="m", position=1, weight=3)
    assert services.promote_rollout(rollout=rollout)
    assert [(str(step), step.weight) for step in made.steps.all()] == [("new/m", 3), ("old/m", 1)]


@pytest.mark.parametrize("kind", ["mirror", "canary"])
def test_mirrors_and_ended_canaries_are_not_promoted(as_administrator: Client, users: Users, kind: str) -> None:
    made = make(users)
    rollout = services.start_rollout(route=made, kind=kind, backend=Backend.objects.get(name="new"), model="m", percent=10)
    if kind == "canary":
        services.stop_rollout(rollout=rollout)
    page = as_administrator.post(f"/rollouts/{rollout.pk}/promote/", follow=True).content.decode()
    assert "Only a running canary can be promoted." in page
    assert [str(step) for step in made.steps.all()] == ["old/m"]
