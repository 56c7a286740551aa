"""Two Celery workers share a batch, and nothing that happens to them, to Redis or to the web process loses or doubles a row."""

from __future__ import annotations

import signal
import time
from collections import Counter

import pytest

from tests.machines import Postgres, Redis
from tests.scale.installation import LEASE_SECONDS, Installation, Job, Worker, wait_until
from tests.upstream import says

pytestmark = [pytest.mark.slow, pytest.mark.postgres, pytest.mark.redis]
ROWS = 320
"""Ten chunks."""
UNDER_WAY = 64
"""Twice a worker's concurrency: the requests it has under way, and the answers it has not yet written. May be sent again when it dies."""


def begun(installation: Installation, *, first: float) -> Job:
    """A batch whose rows take `first` seconds each, with both workers at work on it."""
    installation.upstream.default = says("Done", first=first)
    job = installation.begin(ROWS)
    for worker in installation.workers:
        wait_until(lambda worker=worker: job.is_held_by(worker), f"{worker.name} takes nothing")  # type: ignore[misc]
    return job


def again(job: Job) -> Counter[str]:
    """How often rows were sent more than once."""
    return job.sent() - Counter(job.prompts)


CLAIM_TOGETHER = """
import threading, time, uuid
from datetime import timedelta
from django.db import transaction
from django.utils import timezone
from batches.execution.chunks import claim_next
from batches.models import Batch, BatchChunk
from webapp.accounts.models import User
now = timezone.now()
owner = User.objects.get(username="other")
later = now + timedelta(days=1)
batch = Batch.objects.create(user=owner, input_id=uuid.uuid4(), expires_at=later, due_at=later, status="in_progress")
BatchChunk.objects.create(batch=batch, first=1, last=1)
taken = []
def second():
    taken.append(claim_next(batch, "second"))
with transaction.atomic():
    taken.append(claim_next(batch, "first"))
    thread = threading.Thread(target=second)
    thread.start()
    time.sleep(1)
thread.join()
print([chunk and chunk.owner for chunk in taken])
batch.delete()
"""


def test_a_chunk_that_two_claim_at_the_same_time_is_claimed_once(installation: Installation) -> None:
    """The second waits for the first's transaction, and then finds that it was too late."""
    assert installation.first.run_python(CLAIM_TOGETHER).strip() == "['first', None]"


def test_two_workers_share_a_batch_and_send_each_row_once(installation: Installation) -> None:
    job = begun(installation, first=0.5)
    job.finish()
    assert job.sent() == Counter(job.prompts)


def test_a_killed_worker_s_rows_are_done_by_the_other(installation: Installation) -> None:
    """Rows that have a result are not sent again. Only the requests that ran in the killed worker are."""
    job = begun(installation, first=1.0)
    killed = installation.workers[0]
    job.wait_for_results(1)
    wait_until(lambda: job.is_held_by(killed), "it has nothing to lose")
    killed.kill()
    kept = job.kept()
    job.finish()
    assert set(again(job)).isdisjoint(kept)
    assert again(job).total() <= UNDER_WAY
    killed.start()


@pytest.mark.slow
def test_a_worker_stopped_for_longer_than_its_lease_writes_nothing(installation: Installation) -> None:
    """Its answers come to nothing when it goes on: the fence refuses them, and the other's count."""
    job = begun(installation, first=1.0)
    stopped = installation.workers[0]
    wait_until(lambda: job.is_held_by(stopped), "it has nothing to lose")
    stopped.send(signal.SIGSTOP)
    try:
        wait_until(lambda: not job.is_held_by(stopped), "its lease does not end")
        job.finish()
    finally:
        stopped.send(signal.SIGCONT)
    wait_until(lambda: "was lost" in stopped.output(), "the worker did not notice")
    job.finish()
    assert again(job).total() <= UNDER_WAY
    assert_takes_tasks(installation, stopped)


def assert_takes_tasks(installation: Installation, worker: Worker) -> None:
    """It is of use again."""
    installation.upstream.default = says("Done", first=0.3)
    job = installation.begin(ROWS)
    wait_until(lambda: job.is_held_by(worker), f"{worker.name} takes nothing any more")
    job.finish()


@pytest.mark.slow
def test_without_redis_a_batch_goes_on_and_afterwards_workers_take_tasks_again(installation: Installation, redis: Redis) -> None:
    """FAULTS 50, for batches."""
    job = begun(installation, first=1.0)
    redis.stop()
    try:
        before = len(job.kept())
        time.sleep(LEASE_SECONDS)
        assert len(job.kept()) > before
    finally:
        redis.start()
    job.finish()
    assert again(job).total() == 0
    for worker in installation.workers:
        assert_takes_tasks(installation, worker)


@pytest.mark.slow
def test_workers_go_on_while_no_web_process_runs(installation: Installation) -> None:
    job = begun(installation, first=0.5)
    installation.first.kill()
    job.wait_for_results(ROWS)
    installation.first.start()
    job.finish()
    assert job.sent() == Counter(job.prompts)


@pytest.mark.slow
def test_without_postgresql_a_batch_waits_and_then_goes_on(installation: Installation, postgres: Postgres) -> None:
    """FAULTS 50, for batches: away for longer than a lease; answers wait in the workers, and hardly a row is asked for again."""
    job = begun(installation, first=0.5)
    job.wait_for_results(1)
    postgres.stop()
    try:
        time.sleep(2 * LEASE_SECONDS)
        sent = job.sent().total()
        time.sleep(LEASE_SECONDS)
        assert job.sent().total() == sent, "what cannot be kept is not asked for"
    finally:
        postgres.start()
    job.finish()
    assert again(job).total() <= UNDER_WAY
    for worker in installation.workers:
        assert_takes_tasks(installation, worker)
