"""Batches at a backend's own Batch API, against a real server."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from django.utils import timezone

from batches import services
from batches.models import Batch, BatchRow
from batches.remote import remote_batches
from tests.batches.conftest import in_thread, line, lines, make_batch, rows_of, run, running, until
from tests.upstream import Upstream
from webapp.accounts.models import Budget, User
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.backends.runtime.budgets import Spending
from webapp.core import leases
from webapp.core.database import DatabaseThread
from webapp.patterns.batch import remote


async def hurry(batch: Batch) -> Batch:
    """Run to the end without the pauses between looks."""
    async with running() as runner:
        while True:
            await batch.arefresh_from_db()
            if not batch.is_active:
                return batch
            await Batch.objects.filter(pk=batch.pk).aupdate(due_at=timezone.now())
            runner.wake()
            await asyncio.sleep(0.05)


def calls(upstream: Upstream, method: str, path: str) -> int:
    return sum(received.method == method and received.path == path for received in upstream.requests)


async def test_a_remote_batch_is_submitted_followed_and_brought_home(owner: User, upstream: Upstream) -> None:
    def price() -> None:
        from webapp.backends.models import Backend

        Backend.objects.update(input_price=10, output_price=20)

    await in_thread(price)()
    upstream.files.fail_custom_ids = {"row-2"}
    batch = await hurry(await in_thread(make_batch)(owner, lines(3), executor="auto", metadata={"a": "b"}))
    assert (batch.executor, batch.status, batch.completed, batch.failed) == ("remote", "completed", 2, 1)
    rows = await rows_of(batch)
    assert [(row.state, row.status_code) for row in rows] == [(1, 200), (2, 500), (1, 200)]
    assert "echo: question 1" in rows[0].response
    assert (batch.prompt_tokens, batch.completion_tokens) == (14, 6)
    assert float(batch.cost or 0) == (14 * 10 + 6 * 20) / 1e6 / 2  # half price
    (job,) = upstream.files.batches.values()
    assert job["metadata"] == {"a": "b", remote.KEY: batch.api_id}
    sent = upstream.files.contents[job["input_file_id"]]
    assert {json.loads(text)["body"]["model"] for text in sent.splitlines()} == {"m"}  # the server's own name for it
    assert calls(upstream, "POST", "/v1/chat/completions") == 0
    await registry.flush()
    recorded = [attempt async for attempt in Attempt.objects.filter(user=owner, source="batch", outcome="ok")]
    assert sum(attempt.cost or 0 for attempt in recorded) == batch.cost  # usage and budgets count it


async def test_a_job_is_not_created_twice_though_the_answer_was_lost(owner: User, upstream: Upstream) -> None:
    """A crash between the server's answer and our note of it."""
    upstream.files.polls = 1_000
    batch = await in_thread(make_batch)(owner, lines(2), executor="remote")
    async with running():
        await until(lambda b: bool(b.remote_id), batch)
    known = batch.remote_id
    await Batch.objects.filter(pk=batch.pk).aupdate(remote_id="", remote_status="submitting", due_at=timezone.now())
    async with running():
        await until(lambda b: bool(b.remote_id), batch)
    assert batch.remote_id == known
    assert calls(upstream, "POST", "/v1/batches") == 1
    assert calls(upstream, "POST", "/v1/files") == 1


async def test_a_batch_is_resumed_from_the_stored_id_after_a_restart(owner: User, upstream: Upstream) -> None:
    upstream.files.polls = 3
    batch = await in_thread(make_batch)(owner, lines(2), executor="remote")
    async with running():
        await until(lambda b: bool(b.remote_id), batch)
    await hurry(batch)
    assert (batch.status, batch.completed) == ("completed", 2)
    assert calls(upstream, "POST", "/v1/batches") == 1


async def test_a_remote_batch_is_cancelled_at_its_server_and_keeps_what_it_has(owner: User, upstream: Upstream) -> None:
    upstream.files.polls = 1_000
    batch = await in_thread(make_batch)(owner, lines(4), executor="remote")
    async with running():
        await until(lambda b: bool(b.remote_id), batch)
    await in_thread(services.cancel_batch)(batch=batch)
    job = upstream.files.batches[batch.remote_id]
    done = {"custom_id": "row-3", "response": {"status_code": 200, "body": {"choices": []}}, "error": None}
    job["output_file_id"] = upstream.files.add("out.jsonl", json.dumps(done).encode())
    await hurry(batch)
    assert (batch.status, batch.completed, batch.failed) == ("cancelled", 1, 3)
    assert [row.state for row in await rows_of(batch)] == [3, 3, 1, 3]
    assert calls(upstream, "POST", f"/v1/batches/{batch.remote_id}/cancel") == 1


async def test_an_expired_job_keeps_its_partial_results(owner: User, upstream: Upstream) -> None:
    batch = await with_outcome(
        owner, upstream, {"status": "expired"}, [{"custom_id": "row-1", "response": {"status_code": 200, "body": {}}}]
    )
    assert (batch.status, batch.completed, batch.failed) == ("expired", 1, 1)


async def test_a_job_without_a_result_for_a_row_says_so(owner: User, upstream: Upstream) -> None:
    batch = await with_outcome(
        owner, upstream, {"status": "completed"}, [{"custom_id": "row-1", "response": {"status_code": 200, "body": {}}}]
    )
    assert (batch.status, batch.completed, batch.failed) == ("completed", 1, 1)
    assert (await rows_of(batch))[1].error_code == "no_result"


async def test_a_job_that_its_server_refuses_fails_with_the_servers_errors(owner: User, upstream: Upstream) -> None:
    wrong = {"code": "token_limit_exceeded", "message": "Too much.", "line": None, "param": None}
    batch = await with_outcome(owner, upstream, {"status": "failed", "errors": {"data": [wrong]}}, [])
    assert (batch.status, batch.errors) == ("failed", [wrong])


async def with_outcome(owner: User, upstream: Upstream, outcome: dict[str, Any], results: list[dict[str, Any]]) -> Batch:
    """A batch of two rows whose job ends like this."""
    upstream.files.polls = 1_000
    batch: Batch = await in_thread(make_batch)(owner, lines(2), executor="remote")
    async with running():
        await until(lambda b: bool(b.remote_id), batch)
    if results:
        content = b"".join(json.dumps(result).encode() + b"\n" for result in results)
        outcome = {**outcome, "output_file_id": upstream.files.add("out.jsonl", content)}
    job = upstream.files.batches[batch.remote_id]
    upstream.files._looks[batch.remote_id] = 0
    job.update(outcome)
    upstream.files._advance = lambda batch: None  # type: ignore[method-assign]  # it stays as it ended
    return await hurry(batch)


async def test_a_batch_whose_users_budget_is_spent_is_refused_with_the_reason(
    owner: User, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "spending", Spending())
    await Budget.objects.acreate(user=owner, monthly=0)
    batch = await run(await in_thread(make_batch)(owner, lines(2), executor="auto"))
    assert (batch.status, batch.errors[0]["code"]) == ("failed", "insufficient_quota")
    assert "Your monthly budget (0) is spent." in batch.errors[0]["message"]
    assert upstream.requests == []


async def test_remote_asked_for_in_vain_is_an_error_and_auto_runs_here(owner: User, upstream: Upstream) -> None:
    def no_batches() -> None:
        from webapp.backends.models import Backend

        Backend.objects.update(capabilities={"batches": False})

    await in_thread(no_batches)()
    batch = await run(await in_thread(make_batch)(owner, [line("a")], executor="remote"))
    assert [item["code"] for item in batch.errors] == ["no_batch_api"]
    batch = await run(await in_thread(make_batch)(owner, [line("a")], executor="auto"))
    assert (batch.executor, batch.status) == ("local", "completed")


async def test_a_server_that_is_away_pauses_the_batch_with_the_reason(owner: User, upstream: Upstream) -> None:
    upstream.files.polls = 1_000
    batch = await in_thread(make_batch)(owner, lines(2), executor="remote")
    async with running():
        await until(lambda b: bool(b.remote_id), batch)
    upstream.stop()
    held = await in_thread(lambda: leases.claim(Batch.objects.select_related("input_file", "user").filter(pk=batch.pk), owner="t"))()
    database = DatabaseThread("batches")
    await remote_batches.advance(held, database=database)
    await database.aclose()
    await batch.arefresh_from_db()
    assert batch.status == "in_progress"
    assert batch.paused.startswith("up: ")
    assert not await BatchRow.objects.filter(batch=batch).exclude(state=0).aexists()
