"""Background responses: run by any process, followed from their log, cancelled, and picked up after a crash."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from tests.gateway.api import Api, sse
from tests.gateway.responses.test_create import ASK, events_of
from tests.upstream import Upstream, says, status
from webapp.backends.models import Route
from webapp.core import leases
from webapp.gateway.models import ResponseEvents, StoredResponse
from webapp.gateway.responses.jobs import JobRunner
from webapp.gateway.responses.running import running

MakeUpstream = Callable[..., Upstream]
BACKGROUND = {**ASK, "background": True}


@pytest.fixture
async def runner() -> AsyncIterator[JobRunner]:
    runner = JobRunner()
    yield runner
    await runner.aclose()


async def until(happened: Callable[[], Awaitable[bool]]) -> None:
    """Wait for something that another task writes."""
    async with asyncio.timeout(10):
        while not await happened():  # noqa: ASYNC110 - it happens in the database, or in another thread
            await asyncio.sleep(0.02)


async def has_text() -> bool:
    return await ResponseEvents.objects.filter(data__contains="output_text.delta").aexists()


async def is_asked_to_stop() -> bool:
    return await StoredResponse.objects.filter(cancel_requested=True).aexists()


async def finish(runner: JobRunner) -> None:
    await runner.step()
    await runner.idle()


async def read(api: Api, name: str) -> dict[str, Any]:
    return dict((await api.http.get(f"responses/{name}")).json())


async def test_a_response_is_queued_and_then_completed(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    queued = (await api.post("responses", BACKGROUND)).json()
    assert (queued["status"], queued["background"]) == ("queued", True)
    assert not upstream.requests
    await finish(runner)
    done = await read(api, queued["id"])
    assert done["status"] == "completed"
    assert done["output"][0]["content"][0]["text"] == "Hello"
    events = await events_of(await api.http.get(f"responses/{queued['id']}?stream=true"))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:3]] == ["response.created", "response.queued", "response.in_progress"]


async def test_a_client_follows_it_and_resumes_after_any_event(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says(" ".join(f"w{number}" for number in range(30)), pace=0.01)
    running = asyncio.ensure_future(runner.run())
    whole = await events_of(await api.post("responses", {**BACKGROUND, "stream": True}))
    running.cancel()
    name = whole[0]["response"]["id"]
    assert whole[-1]["type"] == "response.completed"
    resumed: list[Any] = []
    while len(resumed) < len(whole):
        rest = await api.http.get(f"responses/{name}?stream=true&starting_after={len(resumed) - 1}")
        resumed += [event async for event in sse(rest)][:7]
    assert resumed == whole


async def test_failures_end_as_failed(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = status(500)
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    await finish(runner)
    done = await read(api, name)
    assert done["status"] == "failed"
    assert done["error"]["code"] == "server_error"
    assert (await events_of(await api.http.get(f"responses/{name}?stream=true")))[-1]["type"] == "response.failed"


async def test_a_queued_response_is_cancelled(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    cancelling = asyncio.ensure_future(api.post(f"responses/{name}/cancel"))
    await until(is_asked_to_stop)
    await finish(runner)
    assert (await cancelling).json()["status"] == "cancelled"
    assert not upstream.requests
    assert (await api.post(f"responses/{name}/cancel")).json()["status"] == "cancelled", "once more changes nothing"


async def test_a_running_response_is_cancelled_and_keeps_what_it_said(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("one two three four five six", pace=0.3)
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    await runner.step()
    await until(has_text)
    done = (await api.post(f"responses/{name}/cancel")).json()
    assert done["status"] == "cancelled"
    assert done["output"][0]["content"][0]["text"].startswith("one")
    assert await sync_to_async(upstream.requests[0].gone.wait)(2)


async def test_only_background_responses_can_be_cancelled(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    name = (await api.post("responses", ASK)).json()["id"]
    assert (await api.post(f"responses/{name}/cancel")).status_code == 400


async def test_a_repeated_request_with_its_key_is_one_response(api: Api, make_upstream: MakeUpstream) -> None:
    await api.serve(make_upstream())
    keyed = {"headers": {"idempotency-key": "k1"}}
    first, second = [(await api.post("responses", BACKGROUND, **keyed)).json()["id"] for _ in range(2)]
    assert first == second
    assert await StoredResponse.objects.acount() == 1


async def _kill_in_the_middle(api: Api, upstream: Upstream, runner: JobRunner) -> str:
    """Leave a response as a killed process leaves it: in progress, its lease held by a process that is gone."""
    upstream.script(says("one two three four five six", pace=0.3))
    name = str((await api.post("responses", BACKGROUND)).json()["id"])
    await runner.step()
    await until(has_text)
    task = runner._tasks[name]
    running()[name].cancel("stopped")
    await asyncio.gather(task, return_exceptions=True)
    await StoredResponse.objects.filter(pk=name).aupdate(owner=_dead_owner(), lease_until=None)
    assert (await read(api, name))["status"] == "in_progress"
    return name


def _dead_owner() -> str:
    host, pid, started, rest = leases.this_worker().split("/")
    return f"{host}/{pid}/{int(started) - 1}/{rest}"


async def test_a_crash_in_mid_answer_leaves_an_incomplete_response(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    name = await _kill_in_the_middle(api, upstream, runner)
    await finish(runner)
    done = await read(api, name)
    assert done["status"] == "incomplete"
    assert done["incomplete_details"] == {"reason": "interrupted"}
    assert done["output"][0]["content"][0]["text"].startswith("one")
    assert len(upstream.requests) == 1, "nothing is asked twice"
    events = await events_of(await api.http.get(f"responses/{name}?stream=true"))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.incomplete"


async def test_a_crash_goes_on_where_the_route_says_so(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream(), mid_stream="continue")
    name = await _kill_in_the_middle(api, upstream, runner)
    upstream.default = says("and the rest")
    await finish(runner)
    done = await read(api, name)
    assert done["status"] == "completed"
    texts = [item["content"][0]["text"] for item in done["output"]]
    assert texts[0].startswith("one")
    assert texts[-1] == "and the rest"
    roles = [message["role"] for message in upstream.requests[-1].body["messages"]]
    assert roles == ["user", "assistant", "user"]
    events = await events_of(await api.http.get(f"responses/{name}?stream=true"))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


async def test_a_crash_begins_anew_where_the_route_says_so(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream(), mid_stream="restart")
    name = await _kill_in_the_middle(api, upstream, runner)
    upstream.default = says("all of it")
    await finish(runner)
    done = await read(api, name)
    assert [item["content"][0]["text"] for item in done["output"]] == ["all of it"]
    assert await Route.objects.filter(mid_stream="restart").aexists()


async def test_a_response_that_had_said_nothing_runs_again(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    await StoredResponse.objects.filter(pk=name).aupdate(owner=_dead_owner(), status="in_progress")
    await finish(runner)
    assert (await read(api, name))["status"] == "completed"


async def test_a_stream_whose_process_died_is_incomplete(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    name = (await events_of(await api.post("responses", {**ASK, "stream": True})))[0]["response"]["id"]
    log = ResponseEvents.objects.filter(response_id=name)
    row = await log.alast()
    assert row is not None
    kept = row.data.split("event: response.output_text.done")[0]
    await log.filter(pk=row.pk).aupdate(data=kept, last=row.first + kept.count("\ndata: ") - 1)
    await StoredResponse.objects.filter(pk=name).aupdate(status="in_progress", owner=_dead_owner())
    await finish(runner)
    done = await read(api, name)
    assert done["status"] == "incomplete"
    assert done["output"][0]["content"][0]["text"] == "Hello"


async def test_a_process_that_lost_its_lease_writes_nothing(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("one two three", pace=0.2)
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    await runner.step()
    row = await StoredResponse.objects.aget(pk=name)
    await StoredResponse.objects.filter(pk=name).aupdate(fence=row.fence + 1, owner="somebody else")
    await runner.idle()
    assert (await StoredResponse.objects.aget(pk=name)).status == "in_progress"
    assert (await ResponseEvents.objects.filter(response_id=name).acount()) == 1, "created and queued"


async def test_a_deleted_response_stops(api: Api, make_upstream: MakeUpstream, runner: JobRunner) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("one two three four", pace=0.3)
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    await runner.step()

    async def is_asked() -> bool:
        return bool(upstream.requests)

    await until(is_asked)
    assert (await api.http.delete(f"responses/{name}")).json()["deleted"] is True
    assert await sync_to_async(upstream.requests[0].gone.wait)(2)
    await runner.idle()
    assert not await StoredResponse.objects.aexists()


async def test_a_celery_worker_runs_what_is_queued(api: Api, make_upstream: MakeUpstream) -> None:
    from webapp.gateway.tasks import work

    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    await work()
    assert (await read(api, name))["status"] == "completed"


async def test_a_server_leaves_fresh_responses_to_the_workers(api: Api, make_upstream: MakeUpstream, settings: Any) -> None:
    await api.serve(upstream := make_upstream())
    upstream.default = says("Hello")
    name = (await api.post("responses", BACKGROUND)).json()["id"]
    settings.REDIS_URL = "redis://127.0.0.1:1"
    server = JobRunner()
    await finish(server)
    assert (await read(api, name))["status"] == "queued"
    created = timezone.now() - timedelta(seconds=4)
    await StoredResponse.objects.filter(pk=name).aupdate(created_at=created)
    await finish(server)
    assert (await read(api, name))["status"] == "completed"
    await server.aclose()
