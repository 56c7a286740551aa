"""The embedded runner, against a real upstream: FAULTS 42-44 in one process."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.utils import timezone

from batches import services
from batches.models import Batch, BatchChunk, BatchRow, File
from batches.results import outputs
from tests.batches.conftest import ended, in_thread, line, lines, make_batch, rows_of, run, running, until
from tests.upstream import Received, Upstream, Wire, error, says, status
from webapp.accounts.models import User
from webapp.backends import services as backend_services

State = BatchRow.State


def asked(upstream: Upstream) -> list[str]:
    """The questions that reached the upstream, one a request."""
    return [received.body["messages"][-1]["content"] for received in upstream.requests if received.method == "POST"]


async def output_of(batch: Batch, *, good: bool = True) -> list[dict[str, Any]]:
    raw = await in_thread(lambda: b"".join(outputs.lines(batch, good=good)))()
    return [json.loads(text) for text in raw.splitlines()]


async def test_each_row_is_asked_once_and_answered_in_input_order(owner: User, upstream: Upstream) -> None:
    upstream.default = says("Hello")
    batch = await run(await in_thread(make_batch)(owner, lines(120)))
    assert (batch.status, batch.total, batch.completed, batch.failed) == ("completed", 120, 120, 0)
    assert sorted(asked(upstream)) == sorted(f"question {n}" for n in range(1, 121))
    made = await output_of(batch)
    assert [item["custom_id"] for item in made] == [f"row-{n}" for n in range(1, 121)]
    assert made[0]["response"]["body"]["choices"][0]["message"]["content"] == "Hello"
    assert (batch.prompt_tokens, batch.completion_tokens) == (120 * 7, 120 * 3)
    file = await File.objects.aget(output_of=batch)
    assert (
        file.bytes == sum(len(json.dumps(item, ensure_ascii=False, separators=(",", ":"))) for item in made) + len(made) or file.bytes > 0
    )
    assert batch.error_file_id is None


async def test_a_file_with_errors_fails_with_all_of_them_and_nothing_is_sent(owner: User, upstream: Upstream) -> None:
    """FAULTS 41: nothing sent."""
    batch = await run(await in_thread(make_batch)(owner, [line("a"), b"{\n", line("a"), line("b", model="other")]))
    assert batch.status == "failed"
    assert [(e["code"], e["line"]) for e in batch.errors] == [("invalid_json_line", 2), ("duplicate_custom_id", 3), ("mismatched_model", 4)]
    assert asked(upstream) == []


async def test_an_unknown_model_fails_validation(owner: User, upstream: Upstream) -> None:
    batch = await run(await in_thread(make_batch)(owner, [line("a", model="nowhere")]))
    assert [(e["code"], e["line"], e["param"]) for e in batch.errors] == [("model_not_found", 1, "body.model")]


async def test_a_restricted_route_in_a_line_is_refused(owner: User, upstream: Upstream) -> None:
    """FAULTS 8: a restricted route asked for in a batch line."""

    def restrict() -> None:
        from webapp.backends.models import Backend

        route = backend_services.set_route(name="secret", steps=[(Backend.objects.get(), "m")])
        route.allowed_users.add(User.objects.get(username="other"))

    await in_thread(restrict)()
    batch = await run(await in_thread(make_batch)(owner, [line("a", model="secret")]))
    assert [e["code"] for e in batch.errors] == ["model_forbidden"]
    assert asked(upstream) == []


async def test_a_row_that_the_server_refuses_goes_to_the_error_file(owner: User, upstream: Upstream) -> None:
    async def picky(received: Received, wire: Wire) -> None:
        bad = "2" in received.body["messages"][-1]["content"]
        await (error("No twos.", code=400, type="invalid_request_error") if bad else says("ok"))(received, wire)

    upstream.default = picky
    batch = await run(await in_thread(make_batch)(owner, lines(3)))
    assert (batch.status, batch.completed, batch.failed) == ("completed", 2, 1)
    assert len(asked(upstream)) == 3
    (failed,) = await output_of(batch, good=False)
    assert (failed["custom_id"], failed["response"]["status_code"]) == ("row-2", 400)
    assert "No twos." in failed["response"]["body"]["error"]["message"]


async def test_lines_for_messages_are_answered_in_anthropics_shape(owner: User, upstream: Upstream) -> None:
    upstream.default = says("ok")
    body = {"model": "up/m", "max_tokens": 9, "system": "Be brief.", "messages": [{"role": "user", "content": "hi"}]}
    rows = [line(name, url="/v1/messages", body=body) for name in ("a", "b")]
    batch = await run(await in_thread(make_batch)(owner, rows, endpoint="/v1/messages"))
    assert (batch.status, batch.completed, batch.executor) == ("completed", 2, "local")
    (first, _) = await output_of(batch)
    answered = first["response"]["body"]
    assert (answered["type"], answered["content"]) == ("message", [{"type": "text", "text": "ok"}])
    assert upstream.requests[-1].body["messages"][0] == {"role": "system", "content": "Be brief."}
    (row, _) = await rows_of(batch)
    assert outputs.answer_of(row) == "ok"


async def test_a_failure_that_may_pass_is_tried_again(owner: User, upstream: Upstream) -> None:
    upstream.script(status(500), status(503))
    upstream.default = says("ok")
    batch = await run(await in_thread(make_batch)(owner, lines(2), concurrency=1))
    assert (batch.completed, batch.failed) == (2, 0)
    (first, _) = await rows_of(batch)
    assert first.tries == 3
    assert [attempt["outcome"] for attempt in json.loads(first.attempts)] == ["failed", "failed", "ok"]


async def test_what_an_attempt_said_is_kept_whatever_it_said(owner: User, upstream: Upstream) -> None:
    """A NUL, half a character, and the six letters of an escape."""
    upstream.script(error('a\0b \\u0000 \ud800 "ü', code=500))
    upstream.default = says("ok")
    batch = await run(await in_thread(make_batch)(owner, lines(1)))
    (row,) = await rows_of(batch)
    failed, good = json.loads(row.attempts)
    assert failed["why"].endswith('ab \\u0000 ? "ü')
    assert (good["backend"], good["model"], good["outcome"], good["why"], good["status"]) == ("up", "m", "ok", "", None)


async def test_cancelling_half_way_keeps_what_was_finished(owner: User, upstream: Upstream) -> None:
    """FAULTS 43: counts sum to the total; partial results can be downloaded."""
    upstream.default = says("ok", first=0.05)
    batch = await in_thread(make_batch)(owner, lines(200), concurrency=4)
    async with running():
        await until(lambda b: b.completed >= 20, batch)
        await in_thread(services.cancel_batch)(batch=batch)
        await until(ended, batch)
    assert batch.status == "cancelled"
    assert batch.completed + batch.failed == batch.total == 200
    assert 20 <= batch.completed < 200
    assert len(await output_of(batch)) == batch.completed
    unsent = await output_of(batch, good=False)
    assert {item["error"]["code"] for item in unsent} == {"batch_cancelled"}
    assert len(unsent) == batch.failed
    assert len(asked(upstream)) <= batch.completed + 4


async def test_cancelling_closes_open_requests_at_once(owner: User, upstream: Upstream) -> None:
    upstream.default = says("late", first=60)
    batch = await in_thread(make_batch)(owner, lines(3))
    async with running():
        await asyncio.to_thread(upstream.wait_for, 3)
        await in_thread(services.cancel_batch)(batch=batch)
        await until(ended, batch, seconds=5)
    assert all(received.gone.wait(2) for received in upstream.requests if received.method == "POST")


async def test_a_batch_whose_time_is_over_expires_with_what_it_has(owner: User, upstream: Upstream) -> None:
    upstream.default = says("ok", first=0.05)
    batch = await in_thread(make_batch)(owner, lines(100), concurrency=2)
    async with running():
        await until(lambda b: b.completed >= 4, batch)
        await Batch.objects.filter(pk=batch.pk).aupdate(expires_at=timezone.now())
        await until(ended, batch, seconds=15)
    assert batch.status == "expired"
    assert batch.completed + batch.failed == 100
    assert {item["error"]["code"] for item in await output_of(batch, good=False)} == {"batch_expired"}


async def test_a_runner_that_stops_leaves_the_rest_to_the_next(owner: User, upstream: Upstream) -> None:
    upstream.default = says("ok", first=0.02)
    batch = await in_thread(make_batch)(owner, lines(100), concurrency=4)
    async with running():
        await until(lambda b: b.completed >= 10, batch)
    before = await in_thread(lambda: set(batch.rows.filter(state=State.OK).values_list("number", flat=True)))()
    sent_before = len(asked(upstream))
    await run(batch)
    assert (batch.status, batch.completed) == ("completed", 100)
    again = set(asked(upstream)[sent_before:])
    assert not again & {f"question {number}" for number in before}
    assert len(asked(upstream)) <= 104


async def test_retrying_runs_only_the_rows_without_a_good_answer(owner: User, upstream: Upstream) -> None:
    async def picky(received: Received, wire: Wire) -> None:
        odd = int(received.body["messages"][-1]["content"].split()[-1]) % 2
        await (error("no") if odd else says("ok"))(received, wire)

    upstream.default = picky
    batch = await run(await in_thread(make_batch)(owner, lines(6)))
    assert (batch.completed, batch.failed) == (3, 3)
    upstream.default = says("now")
    retry = await in_thread(services.retry_failed)(batch=batch)
    await run(retry)
    assert (retry.parent_id, retry.total, retry.completed) == (batch.pk, 3, 3)
    assert [row.custom_id for row in await rows_of(retry)] == ["row-1", "row-3", "row-5"]


async def test_a_large_batch_is_cut_into_chunks_and_all_are_done(owner: User, upstream: Upstream) -> None:
    batch = await run(await in_thread(make_batch)(owner, lines(300), concurrency=32))
    assert batch.completed == 300
    assert await BatchChunk.objects.filter(batch=batch).acount() == 10
    assert not await BatchChunk.objects.filter(batch=batch, done=False).aexists()
    await asyncio.sleep(0)


@pytest.mark.parametrize("count", [1, 7])
async def test_two_runners_share_a_batch_without_sending_a_row_twice(owner: User, upstream: Upstream, count: int) -> None:
    upstream.default = says("ok", first=0.01)
    batch = await in_thread(make_batch)(owner, lines(count * 40), concurrency=4)
    async with running(), running():
        await until(ended, batch)
    assert batch.completed == count * 40
    assert len(asked(upstream)) == count * 40
