"""From rows to live chains, over real servers."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable
from datetime import timedelta

import pytest
from channels.db import database_sync_to_async

from tests.backends.conftest import add, route
from tests.upstream import Upstream, closed_port, says, status
from tests.users import Users, make_users
from webapp.backends import services
from webapp.backends.models import Attempt, Backend, ConfigState, Health, Route
from webapp.backends.runtime import registry
from webapp.patterns.errors import AllCooling, AllFailed, ModelForbidden, ModelNotFound, Unreachable
from webapp.patterns.types import AttemptLog, Request

pytestmark = pytest.mark.usefixtures("closing")
MakeUpstream = Callable[..., Upstream]
HELLO = Request.chat([{"role": "user", "content": "Hello"}])
KEY = "sk-test-abcdefghijklmnop-7f3d"


@pytest.fixture
def users(transactional_db: None) -> Users:
    return make_users()


async def text_of(model: str, trail: AttemptLog | None = None) -> str:
    chain = await registry.resolve(model, user=None)
    parts = [delta.text async for packet in chain.stream(HELLO, trail=trail) for delta in packet.deltas]
    return "".join(parts)


async def test_the_answer_comes_from_the_third_backend_and_the_trail_says_why(make_upstream: MakeUpstream) -> None:
    failing, good = make_upstream(), make_upstream()
    failing.default = status(503)
    good.default = says("Hello from the third.")
    await add("refused", f"http://127.0.0.1:{closed_port()}/v1")
    await add("failing", failing.base_url)
    await add("good", good.base_url)
    await route("default", "refused/m", "failing/m", "good/m")
    trail = AttemptLog()
    assert await text_of("default", trail) == "Hello from the third."
    assert [(a.backend, a.outcome, a.error) for a in trail.attempts] == [
        ("refused", "failed", "Unreachable"),
        ("failing", "failed", "ServerFailed"),
        ("good", "ok", ""),
    ]
    assert all(a.why for a in trail.attempts[:2])


async def test_recorded_attempts_are_written_behind_with_their_health(make_upstream: MakeUpstream, users: Users) -> None:
    failing, good = make_upstream(), make_upstream()
    failing.default = status(500)
    await add("failing", failing.base_url)
    await add("good", good.base_url)
    await route("default", "failing/m", "good/m")
    trail, request_id = AttemptLog(), uuid.uuid4()
    await text_of("default", trail)
    registry.record(trail, request_id=request_id, source="chat", user_id=users.owner.pk, route="default")
    await registry.flush()
    rows = [row async for row in Attempt.objects.filter(request_id=request_id).order_by("id")]
    assert [(row.backend, row.outcome, row.user_id) for row in rows] == [
        ("failing", "failed", users.owner.pk),
        ("good", "ok", users.owner.pk),
    ]
    assert (rows[1].prompt_tokens, rows[1].completion_tokens) == (7, 3)
    states = {health.backend.name: health.state async for health in Health.objects.select_related("backend")}
    assert states == {"failing": "down", "good": "up"}


async def test_attempts_of_a_deleted_user_are_kept_without_a_name(users: Users) -> None:
    from webapp.patterns import types

    trail = AttemptLog()
    trail.add(types.Attempt("a", "m", "ok"))
    registry.record(trail, request_id=uuid.uuid4(), source="chat", user_id=10**6, token_id=10**6, route="default")
    await registry.flush()
    row = await Attempt.objects.aget()
    assert (row.user_id, row.token_id) == (None, None)


async def test_what_strangers_claim_is_kept_in_the_columns_there_are() -> None:
    """Model names are the callers', usage is the server's: neither may stop the log."""
    from webapp.patterns import types

    trail = AttemptLog()
    trail.add(types.Attempt("a\0b", "m" * 500 + "\ud800", "ok", usage=types.Usage(10**30, -5), cost=1e300, why="x" * 5000))
    registry.record(trail, request_id=uuid.uuid4(), source="gateway", user_id=None, route="\ud800\0")
    await registry.flush()
    row = await Attempt.objects.aget()
    assert (row.backend, row.route, row.completion_tokens) == ("ab", "?", 0)


async def test_attempts_wait_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 50."""
    from django.db import OperationalError

    from webapp.backends.runtime import attempt_recorder
    from webapp.patterns import types

    def away(_values: object) -> None:
        raise OperationalError("could not connect")

    trail = AttemptLog()
    trail.add(types.Attempt("a", "m", "ok"))
    with monkeypatch.context() as broken:
        broken.setattr(attempt_recorder, "write", away)
        registry.record(trail, request_id=uuid.uuid4(), source="chat", user_id=None, route="default")
        await registry.flush()
        assert not await Attempt.objects.aexists()
    await registry.flush()
    assert await Attempt.objects.acount() == 1


async def test_requests_go_on_over_the_last_configuration_while_the_database_is_away(
    make_upstream: MakeUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 50: with the service running, nobody waits for a database that hangs."""
    from django.db import OperationalError

    await add("a", make_upstream().base_url, "m")

    def hangs(*_args: object) -> None:
        threading.Event().wait(3)
        raise OperationalError("could not connect")

    async with registry.service():
        await registry.resolve("m", user=None)
        monkeypatch.setattr(registry, "_read", hangs)
        await asyncio.sleep(registry.CHECK_SECONDS * 0.75 + 0.2)  # the service hangs in its check now
        begun = time.monotonic()
        await registry.resolve("m", user=None)
        assert time.monotonic() - begun < 1  # of the 3 that the database takes


async def test_a_wrong_key_flags_the_backend_and_a_good_answer_takes_the_flag_off(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.script(status(401, {"error": {"message": f"Incorrect API key provided: {KEY}"}}))
    pk = await add("a", upstream.base_url, api_key=KEY)
    trail = AttemptLog()
    with pytest.raises(AllFailed):
        await text_of("a/m", trail)
    registry.record(trail, request_id=uuid.uuid4(), source="chat", user_id=None, route="a/m")
    await registry.flush()
    flagged = (await Backend.objects.aget(pk=pk)).flagged
    assert flagged
    assert KEY not in flagged, "FAULTS 15: the key an upstream echoes is nowhere"
    assert KEY not in (await Attempt.objects.aget()).why
    await registry.reset_breaker("a")
    trail = AttemptLog()
    await text_of("a/m", trail)
    registry.record(trail, request_id=uuid.uuid4(), source="chat", user_id=None, route="a/m")
    await registry.flush()
    assert (await Backend.objects.aget(pk=pk)).flagged == ""


async def test_a_disabled_backend_is_passed_over_and_the_trail_says_so(make_upstream: MakeUpstream) -> None:
    off, on = make_upstream(), make_upstream()
    pk = await add("off", off.base_url)
    await add("on", on.base_url)
    await route("default", "off/m", "on/m")
    backend = await Backend.objects.aget(pk=pk)
    backend.enabled = False
    await backend.asave()
    trail = AttemptLog()
    await text_of("default", trail)
    assert [(a.backend, a.outcome) for a in trail.attempts] == [("off", "skipped"), ("on", "ok")]
    assert "disabled" in trail.attempts[0].why
    assert off.requests == []
    with pytest.raises(Unreachable, match="disabled"):
        await registry.backend("off")


async def test_a_route_whose_steps_are_all_off_says_why(make_upstream: MakeUpstream) -> None:
    await add("a", make_upstream().base_url, api_key_env="TESTS_HAVE_NO_SUCH_API_KEY")
    await route("default", "a/m")
    with pytest.raises(AllFailed, match="TESTS_HAVE_NO_SUCH_API_KEY is not set"):
        await text_of("default")


async def test_a_route_without_steps_says_what_to_do() -> None:
    await Route.objects.acreate(name="empty")
    with pytest.raises(AllFailed, match="no steps yet"):
        await registry.resolve("empty", user=None)


async def test_a_name_is_a_route_then_backend_and_model_then_a_bare_id(make_upstream: MakeUpstream) -> None:
    one, two = make_upstream(), make_upstream()
    await add("one", one.base_url, "m", "vendor/x")
    await add("two", two.base_url, "m")
    await route("fast", "two/other")
    assert [(s.backend.name, s.model) for s in (await registry.resolve("fast", user=None)).steps] == [("two", "other")]
    assert [(s.backend.name, s.model) for s in (await registry.resolve("two/m", user=None)).steps] == [("two", "m")]
    assert [(s.backend.name, s.model) for s in (await registry.resolve("m", user=None)).steps] == [("one", "m"), ("two", "m")]
    assert [(s.backend.name, s.model) for s in (await registry.resolve("vendor/x", user=None)).steps] == [("one", "vendor/x")]
    for unknown in ("nothing", "", "/", "nobody/m", "fast/", "\0", "x" * 10_000):
        with pytest.raises(ModelNotFound):
            await registry.resolve(unknown, user=None)


async def test_one_pool_a_backend_serves_all_requests_until_its_row_changes(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    pk = await add("a", upstream.base_url, "m")
    first = await registry.backend(pk)
    assert await registry.backend("a") is first
    assert (await registry.resolve("m", user=None)).steps[0].backend is first
    backend = await Backend.objects.aget(pk=pk)
    backend.idle_timeout = 7
    await backend.asave()
    assert await registry.backend("a") is not first
    assert (await first.send(HELLO.with_options(model="m"))).text, "what still runs over the old pool is not cut off"


async def test_a_change_in_another_process_is_seen_within_seconds(make_upstream: MakeUpstream) -> None:
    await add("a", make_upstream().base_url, "m")
    await registry.resolve("m", user=None)
    await database_sync_to_async(Backend.objects.filter(name="a").update)(enabled=False)  # another process: no signal is heard here
    state = await ConfigState.objects.aget()
    await ConfigState.objects.aupdate(version=state.version + 1)
    async with asyncio.timeout(5):
        while True:
            try:
                await registry.resolve("m", user=None)
            except ModelNotFound:
                break
            await asyncio.sleep(0.1)


async def test_no_query_is_made_for_a_request_between_checks(make_upstream: MakeUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    await add("a", make_upstream().base_url, "m")
    await registry.resolve("m", user=None)

    def read(*_args: object) -> None:
        raise AssertionError("the database was asked")

    monkeypatch.setattr(registry, "_read", read)
    for _ in range(50):
        await registry.resolve("m", user=None)


async def test_a_request_that_is_too_long_for_every_step_is_cut_once(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    said = {"message": "This model's maximum context length is 300 tokens.", "code": "context_length_exceeded"}
    upstream.script(status(400, {"error": said}))
    pk = await add("a", upstream.base_url, "m")
    await (await Backend.objects.aget(pk=pk)).offered.aupdate(context_window=300)
    turns = [{"role": role, "content": f"turn {n} " + "word " * 60} for n in range(10) for role in ("user", "assistant")]
    request = Request.chat([{"role": "system", "content": "Be kind."}, *turns, {"role": "user", "content": "And now?"}], max_tokens=50)
    answer = await (await registry.resolve("a/m", user=None)).send(request)
    assert answer.text
    first, second = (received.body["messages"] for received in upstream.requests)
    assert len(second) < len(first)
    assert (second[0], second[-1]) == (first[0], first[-1]), "the system prompt and the latest user message stay"


# --- who may use what


async def test_a_restricted_route_is_closed_by_every_name(make_upstream: MakeUpstream, users: Users) -> None:
    """FAULTS 8: by its own name, as backend/model, by an alias of the model, by a bare id."""
    upstream, open_one = make_upstream(), make_upstream()
    await add("secret", upstream.base_url, "big:latest", "small")
    await add("open", open_one.base_url, "small")
    await route("private", "secret/big")
    await (await Route.objects.aget()).allowed_users.aadd(users.owner)
    for name in ("private", "secret/big", "secret/big:latest", "secret/BIG", "big:latest", "secret/unlisted"):
        with pytest.raises(ModelForbidden):
            await registry.resolve(name, user=users.other)
        if name != "big:latest":
            await registry.resolve(name, user=users.administrator)
    await registry.resolve("private", user=users.owner)
    await registry.resolve("secret/big", user=users.owner)
    assert [s.backend.name for s in (await registry.resolve("small", user=users.other)).steps] == ["open", "secret"]
    names = {offer.name for offer in await registry.offered(users.other)}
    assert names == {"secret/small", "open/small"}


async def test_a_bare_id_leaves_out_the_backends_that_are_closed_to_the_user(make_upstream: MakeUpstream, users: Users) -> None:
    await add("secret", make_upstream().base_url, "m")
    await add("open", make_upstream().base_url, "m")
    await route("private", "secret/m")
    await (await Route.objects.aget()).allowed_users.aadd(users.owner)
    assert [s.backend.name for s in (await registry.resolve("m", user=users.other)).steps] == ["open"]
    assert [s.backend.name for s in (await registry.resolve("m", user=users.owner)).steps] == ["open", "secret"]


async def test_a_group_opens_a_route_and_leaving_it_closes_it(make_upstream: MakeUpstream, users: Users) -> None:
    from django.contrib.auth.models import Group

    await add("a", make_upstream().base_url, "m")
    await route("private", "a/m")
    group = await Group.objects.acreate(name="team")
    await (await Route.objects.aget()).allowed_groups.aadd(group)
    with pytest.raises(ModelForbidden):
        await registry.resolve("private", user=users.other)
    await users.other.groups.aadd(group)
    await registry.resolve("private", user=users.other)
    await users.other.groups.aremove(group)
    with pytest.raises(ModelForbidden):
        await registry.resolve("private", user=users.other)


async def test_a_route_does_not_open_when_the_last_person_allowed_is_deleted(make_upstream: MakeUpstream, users: Users) -> None:
    await add("a", make_upstream().base_url, "m")
    await route("private", "a/m")
    await (await Route.objects.aget()).allowed_users.aadd(users.owner)
    await users.owner.adelete()
    with pytest.raises(ModelForbidden):
        await registry.resolve("private", user=users.other)


async def test_what_is_offered_tells_windows_kinds_and_health(make_upstream: MakeUpstream, users: Users) -> None:
    pk = await add("a", make_upstream().base_url, "m", "text-embedding-3-small")
    await route("default", "a/m")
    await Health.objects.acreate(backend_id=pk, state="down", why="refused")
    found = {offer.name: offer for offer in await registry.offered(users.owner)}
    assert list(found) == ["default", "a/m", "a/text-embedding-3-small"]
    assert [(o.kind, o.chat, o.embeddings, o.up) for o in found.values()] == [
        ("route", True, False, False),
        ("model", True, False, False),
        ("model", False, True, False),
    ]


# --- breakers across processes


async def test_what_opened_in_another_process_is_not_tried_here_until_somebody_says_try_now(make_upstream: MakeUpstream) -> None:
    from django.utils import timezone

    from webapp.backends.models import Cooldown

    one, two = make_upstream(), make_upstream()
    await add("one", one.base_url)
    await add("two", two.base_url)
    await route("default", "one/m", "two/m")
    await Cooldown.objects.acreate(key="one", until=timezone.now() + timedelta(minutes=5), why="refused there")
    trail = AttemptLog()
    await text_of("default", trail)
    assert [(a.backend, a.outcome) for a in trail.attempts] == [("one", "skipped"), ("two", "ok")]
    assert "refused there" in trail.attempts[0].why
    await registry.reset_breaker("one")
    trail = AttemptLog()
    await text_of("default", trail)
    assert [(a.backend, a.outcome) for a in trail.attempts] == [("one", "ok")]


async def test_a_backend_whose_address_was_mended_is_tried_at_once(make_upstream: MakeUpstream) -> None:
    """Its pauses were for what it was before, in whichever process they began."""
    await add("one", f"http://127.0.0.1:{closed_port()}/v1")
    for _ in range(5):
        with pytest.raises(AllFailed):
            await text_of("one/m")
    with pytest.raises(AllCooling):
        await text_of("one/m")
    await registry.current().refresh()
    await database_sync_to_async(services.add_backend)(name="one", base_url=make_upstream().base_url)
    trail = AttemptLog()
    await text_of("one/m", trail)
    assert [attempt.outcome for attempt in trail.attempts] == ["ok"]


async def test_a_breaker_that_opens_here_is_told_to_the_others_and_taken_back_when_it_closes() -> None:
    from django.utils import timezone

    from webapp.backends.models import Cooldown

    await Cooldown.objects.acreate(key="left by a process that was killed", until=timezone.now() - timedelta(hours=1))
    await add("gone", f"http://127.0.0.1:{closed_port()}/v1")
    for _ in range(5):
        with pytest.raises(AllFailed):
            await text_of("gone/m")
    await registry.current().refresh()
    assert [row.key async for row in Cooldown.objects.all()] == ["gone"]
    await registry.reset_breaker("gone")
    await registry.current().refresh()
    assert not await Cooldown.objects.filter(reset_at=None).aexists()


# --- discovery and health


async def test_discovery_keeps_what_people_entered_and_forgets_what_is_gone(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    pk = await add("a", upstream.base_url, "by-hand")
    backend = await Backend.objects.aget(pk=pk)
    upstream.models = [{"id": "m1"}, {"id": "m2", "max_model_len": 8192}]
    assert (await services.discover(backend)).added == ("m1", "m2")
    upstream.models = [{"id": "m2", "max_model_len": 16384}]
    assert (await services.discover(backend)).gone == ("m1",)
    rows = {row.name: row.context_window async for row in backend.offered.all()}
    assert rows == {"by-hand": None, "m2": 16384}


async def test_discovery_says_why_a_backend_does_not_answer_and_keeps_its_models() -> None:
    pk = await add("a", f"http://127.0.0.1:{closed_port()}/v1", "m")
    backend = await Backend.objects.aget(pk=pk)
    assert (await services.discover(backend)).problem
    assert await backend.offered.acount() == 1


async def test_health_is_polled_with_a_list_of_models_only(make_upstream: MakeUpstream) -> None:
    from webapp.backends.runtime import polling

    up, listless = make_upstream(), make_upstream()
    listless.script(status(404), path="/v1/models")
    await add("up", up.base_url)
    await add("listless", listless.base_url)
    await add("down", f"http://127.0.0.1:{closed_port()}/v1")
    await polling.poll(quiet=timedelta(seconds=30))
    states = {health.backend.name: health.state async for health in Health.objects.select_related("backend")}
    assert states == {"up": "up", "listless": "up", "down": "down"}
    assert {request.path for request in up.requests + listless.requests} == {"/v1/models"}
    before = len(up.requests)
    await polling.poll(quiet=timedelta(seconds=30))
    assert len(up.requests) == before, "what was looked at is left alone for a while"


async def test_the_built_in_backend_is_reached_like_any_other() -> None:
    await database_sync_to_async(services.seed)()
    assert "Patchbay" in await text_of("default")
