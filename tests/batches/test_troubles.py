"""Storms of 429, full disks, and limits: FAULTS 44 and 45."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

import pytest
from django.db import InterfaceError, OperationalError, connection

from batches.execution import chunks, pause_reasons, row_executor
from batches.execution.chunks import Work
from batches.execution.row_executor import RowExecutor, RowTask
from batches.input import files
from batches.models import Batch, BatchRow
from tests.batches.conftest import ended, in_thread, lines, make_batch, running, until
from tests.upstream import Received, Upstream, Wire, says, status
from webapp.accounts.models import Budget, User
from webapp.backends.models import Allowance
from webapp.backends.runtime import allowances
from webapp.backends.runtime.allowances import Taken
from webapp.core import leases
from webapp.core.database import DatabaseThread
from webapp.patterns.fallback.throttle import Clock
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import Response


async def prepared(owner: User, count: int, **options: int) -> Batch:
    """A batch that is ready to be worked on, without a runner."""
    from batches.input import validation
    from batches.input.execution_plan import Plan

    def prepare() -> Batch:
        batch = make_batch(owner, lines(count), **options)
        claimed = leases.claim(Batch.objects.filter(pk=batch.pk), owner="test")
        assert claimed is not None
        plan = Plan("local", "up", "m", {})
        validation.start_batch(batch=claimed, checked=validation.validate(batch.input_file), plan=plan)
        return Batch.objects.select_related("input_file", "user").get(pk=batch.pk)

    batch: Batch = await in_thread(prepare)()
    return batch


async def test_a_ten_minute_storm_of_429_loses_nothing_and_costs_few_calls(owner: User, upstream: Upstream) -> None:
    """FAULTS 44: none lost, concurrency steps down and recovers, at most 20 % extra calls; time is the test's."""
    now, under_way, most = 0.0, 0, {"before": 0, "in the storm": 0, "after": 0}

    async def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds
        await asyncio.sleep(0)

    async def stormy(received: Received, wire: Wire) -> None:
        storm = 1 < now < 601
        await (status(429, headers={"retry-after": "10"}) if storm else says("ok", first=0.002))(received, wire)

    upstream.default = stormy
    batch = await prepared(owner, 1000, concurrency=32)
    backend = OpenAIBackend("up", upstream.base_url)

    async def resolve(_model: str) -> OpenAIBackend:
        nonlocal now
        now += 0.01  # the storm breaks loose after the first hundred
        return backend

    class Counting(RowExecutor):
        async def __call__(self, job: RowTask) -> Response:
            nonlocal under_way
            under_way += 1
            when = "before" if now < 1 else "in the storm" if 60 < now < 601 else "after" if now > 601 else ""
            if when:
                most[when] = max(most[when], under_way)
            try:
                return await super().__call__(job)
            finally:
                under_way -= 1

    database = DatabaseThread("batches")
    work = Work(
        database=database,
        make_executor=lambda batch: Counting(batch, resolve=resolve, record=lambda _trail, _request_id: None),
        clock=Clock(now=lambda: now, sleep=sleep, chance=lambda: 0.5),
    )
    await chunks.work_through(batch, partial(chunks.claim_next, batch, work.owner), work)
    await database.aclose()
    await backend.aclose()
    await batch.arefresh_from_db()
    assert (batch.completed, batch.failed) == (1000, 0)
    assert now > 600
    assert 1000 < len(upstream.requests) <= 1200
    assert most["before"] > 4
    assert most["in the storm"] == 1  # a single request probes
    assert most["after"] > 4


async def test_a_storm_through_a_route_fails_no_row(owner: User, upstream: Upstream) -> None:
    upstream.script(*[status(429, headers={"retry-after-ms": "50"}) for _ in range(20)])
    upstream.default = says("ok")
    batch = await in_thread(make_batch)(owner, lines(60), concurrency=8)
    async with running():
        await until(ended, batch, seconds=30)
    assert (batch.completed, batch.failed) == (60, 0)


async def test_a_full_disk_pauses_the_batch_with_the_reason_and_room_resumes_it(owner: User, upstream: Upstream) -> None:
    """FAULTS 45: SQLite itself says that it is full; no answer is lost and none is asked for again."""
    upstream.default = says("a long answer " * 200, first=0.01)
    batch = await in_thread(make_batch)(owner, lines(300), concurrency=4)

    def pragma(text: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(f"PRAGMA {text}")
            return int(cursor.fetchone()[0])

    async with running() as runner:
        await until(lambda b: b.completed > 5, batch)
        pages = await runner.database.run(pragma, "page_count")
        await runner.database.run(pragma, f"max_page_count={pages}")
        await until(lambda b: "full" in pause_reasons.reason(b), batch)
        deadline = time.monotonic() + 5
        while (before := len(upstream.requests)) and time.monotonic() < deadline:
            await asyncio.sleep(0.5)
            if len(upstream.requests) == before:
                break  # nothing more is sent
        await runner.database.run(pragma, "max_page_count=1073741823")
        await until(ended, batch, seconds=30)
    assert (batch.status, batch.completed, batch.failed) == ("completed", 300, 0)
    assert len(upstream.requests) == 300
    assert pause_reasons.reason(batch) == ""


class FullDatabase(DatabaseThread):
    """Takes nothing, not even a reason."""

    async def run(self, function: Any, *args: Any, **kwargs: Any) -> Any:
        raise OperationalError("database or disk is full")


async def test_the_reason_is_said_where_the_database_cannot_even_take_that(owner: User) -> None:
    """FAULTS 45."""
    batch = await prepared(owner, 1)
    await pause_reasons.pause(FullDatabase("test"), batch, OperationalError("database or disk is full"))
    assert pause_reasons.reason(batch) == "The disk is full. Free some space: the batch then continues by itself, and no answer is lost."
    pause_reasons.over(batch)
    assert pause_reasons.reason(batch) == ""


async def test_a_lost_lease_leaves_the_rows_to_the_other_worker(owner: User, upstream: Upstream) -> None:
    """FAULTS 42: a worker that was stopped for longer than its lease."""
    upstream.default = says("ok", first=0.3)
    batch = await prepared(owner, 64, concurrency=4)
    database = DatabaseThread("batches")
    backend = OpenAIBackend("up", upstream.base_url)

    async def resolve(_model: str) -> OpenAIBackend:
        return backend

    work = Work(database=database, make_executor=lambda b: RowExecutor(b, resolve=resolve, record=lambda _trail, _request_id: None))
    task = asyncio.create_task(chunks.work_through(batch, partial(chunks.claim_this, batch, await first_chunk(batch), "slow"), work))
    await asyncio.to_thread(upstream.wait_for, 4)
    await in_thread(take_over)(batch)
    await asyncio.wait_for(task, 20)
    await database.aclose()
    await backend.aclose()
    await batch.arefresh_from_db()
    assert batch.completed == 0
    assert not await BatchRow.objects.filter(batch=batch).exclude(state=0).aexists()
    assert len(upstream.requests) <= 8  # what it had begun, and not the rest


async def first_chunk(batch: Batch) -> int:
    return (await batch.chunks.order_by("first").afirst()).pk  # type: ignore[union-attr]  # it has some


def take_over(batch: Batch) -> None:
    """Another worker claims everything, as after the lease's end."""
    from django.db.models import F

    batch.chunks.update(owner="other", fence=F("fence") + 1)


def test_an_upload_to_a_full_disk_leaves_nothing_behind(tmp_path: object, monkeypatch: pytest.MonkeyPatch, users: object) -> None:
    """FAULTS 45: /dev/full is a disk without room."""
    import pathlib

    upload = files.Upload()
    draft = upload._draft
    upload._out.close()
    upload._out = pathlib.Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - the upload closes it
    with pytest.raises(files.StorageFull, match="disk is full"), upload:
        upload.write(b"x" * 100)
    assert not draft.exists()


async def test_a_batch_waits_for_its_users_limit_and_leaves_some_of_it_to_the_chat(owner: User, upstream: Upstream) -> None:
    upstream.default = says("ok", first=0.1)
    await Budget.objects.acreate(user=owner, requests_per_minute=5)
    batch = await in_thread(make_batch)(owner, lines(12), concurrency=4)
    async with running():
        await until(lambda b: b.completed >= 4 and b.paused != "", batch)
    assert batch.paused == "You may make 5 requests per minute. The batch continues by itself as fast as the limit allows."
    assert batch.failed == 0
    assert 4 <= len(upstream.requests) < 12
    assert (await Allowance.objects.aget()).requests_left >= 1


async def test_no_row_fails_because_the_database_is_away_where_its_users_limits_are(
    owner: User, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 50."""
    upstream.default = says("ok")
    await Budget.objects.acreate(user=owner, requests_per_minute=1000)
    refusals = iter([InterfaceError("connection already closed"), OperationalError("the database system is starting up")])
    take = allowances.take

    def away_at_first(*args: Any, **kwargs: Any) -> Taken:
        if error := next(refusals, None):
            raise error
        return take(*args, **kwargs)

    monkeypatch.setattr(allowances, "take", away_at_first)
    monkeypatch.setattr(row_executor, "AWAY_SECONDS", 0.01)
    batch = await in_thread(make_batch)(owner, lines(4), concurrency=1)
    async with running():
        await until(ended, batch)
    assert (batch.completed, batch.failed) == (4, 0)
