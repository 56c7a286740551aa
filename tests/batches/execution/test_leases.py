"""Leases and fences: a stale worker's write comes to nothing."""

from __future__ import annotations

import os
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from batches.execution import results
from batches.execution.results import RowResult
from batches.models import Batch, BatchChunk, BatchRow, BatchTick
from tests.batches.conftest import line, make_batch
from tests.users import Users
from webapp.core import leases
from webapp.core.leases import LeaseLost
from webapp.patterns.types import Usage


@pytest.fixture
def batch(users: Users) -> Batch:
    batch = make_batch(users.owner, [line("a"), line("b")])
    BatchRow.objects.bulk_create(BatchRow(batch=batch, number=n, custom_id=str(n), offset=0, length=1) for n in (1, 2, 3))
    BatchChunk.objects.create(batch=batch, first=1, last=3)
    return batch


def claim(batch: Batch, owner: str = "me") -> BatchChunk | None:
    return leases.claim(batch.chunks.filter(done=False), owner=owner)


def answer(number: int, **fields: object) -> RowResult:
    return RowResult(number=number, state=BatchRow.State.OK, usage=Usage(7, 3), cost=0.5, **fields)  # type: ignore[arg-type]


def test_a_chunk_is_held_by_one_at_a_time(batch: Batch) -> None:
    first = claim(batch, "one")
    assert first is not None
    assert (first.owner, first.fence) == ("one", 1)
    assert claim(batch, "two") is None


def test_a_chunk_whose_lease_ran_out_is_taken_over_with_a_higher_fence(batch: Batch) -> None:
    claim(batch, "one")
    BatchChunk.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    second = claim(batch, "two")
    assert second is not None
    assert (second.owner, second.fence) == ("two", 2)


def test_after_the_database_was_away_nobody_is_taken_over_for_the_time_of_a_lease(batch: Batch, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 50: who held the chunk could not renew its lease either, and has answers that wait to be written."""
    monkeypatch.setattr(leases, "_grace_until", 0.0)
    held = claim(batch, "one")
    BatchChunk.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    leases.database_was_away()
    assert claim(batch, "two") is None
    assert held is not None
    results.commit(work=held, results=[answer(1)], finished=False)
    BatchChunk.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    monkeypatch.setattr(leases, "_grace_until", time.monotonic())
    assert claim(batch, "two") is not None


def test_the_write_of_a_worker_that_lost_its_lease_changes_nothing(batch: Batch) -> None:
    """FAULTS 42: a worker stopped for longer than its lease wakes up and writes."""
    stale = claim(batch, "one")
    assert stale is not None
    BatchChunk.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
    fresh = claim(batch, "two")
    assert fresh is not None
    with pytest.raises(LeaseLost):
        results.commit(work=stale, results=[answer(1)], finished=True)
    with pytest.raises(LeaseLost):
        leases.renew(stale)
    leases.release(stale)
    batch.refresh_from_db()
    fresh.refresh_from_db()
    assert (batch.completed, fresh.owner, fresh.done) == (0, "two", False)
    assert not BatchRow.objects.exclude(state=0).exists()
    assert not BatchTick.objects.exists()


def test_results_counts_chart_and_lease_are_one_write(batch: Batch) -> None:
    chunk = claim(batch)
    assert chunk is not None
    results.commit(work=chunk, results=[answer(1, duration_ms=10), RowResult(number=2, state=BatchRow.State.FAILED, duration_ms=30)])
    results.commit(work=chunk, results=[answer(1), answer(3)], finished=True)  # row 1 is settled: it does not count again
    batch.refresh_from_db()
    chunk.refresh_from_db()
    assert (batch.completed, batch.failed, batch.prompt_tokens, float(batch.cost or 0)) == (2, 1, 14, 1.0)
    assert (chunk.done, chunk.owner) == (True, "")
    assert sum(BatchTick.objects.values_list("ok", flat=True)) == 2


def test_the_work_of_dead_processes_of_this_machine_is_freed_at_once(batch: Batch) -> None:
    alive = leases.this_worker()
    host, pid, started, _ = alive.split("/")
    assert not leases.is_dead(alive)
    assert leases.is_dead(f"{host}/{pid}/1{started}/x")  # the same number, given to another process since
    assert leases.is_dead(f"{host}/4194305/5/x")
    assert not leases.is_dead(f"elsewhere/{os.getpid()}/5/x")
    claim(batch, f"{host}/4194305/5/x")
    assert leases.release_dead(BatchChunk.objects.all()) == 1
    assert claim(batch, alive) is not None
    assert leases.release_dead(BatchChunk.objects.all()) == 0


def test_all_that_one_holds_is_given_back_and_nothing_of_others(batch: Batch) -> None:
    """A runner that stops may have claimed for a task that no longer waited for it."""
    BatchChunk.objects.create(batch=batch, first=4, last=6)
    claim(batch, "one")
    claim(batch, "two")
    assert leases.claim(Batch.objects.all(), owner="one") is not None
    leases.release_all(BatchChunk.objects.all(), owner="one")
    leases.release_all(Batch.objects.all(), owner="one")
    assert list(BatchChunk.objects.values_list("owner", flat=True)) == ["", "two"]
    again = leases.claim(Batch.objects.all(), owner="three")
    assert again is not None
    assert again.fence == 2
