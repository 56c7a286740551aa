"""Runs that cannot be lost: FAULTS 42 with real processes that are really killed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.conf import settings
from django.db import connection

from batches.models import Batch, BatchRow
from tests.batches.conftest import lines, make_batch
from tests.upstream import Upstream, says
from tests.users import make_users
from webapp.accounts.models import User
from webapp.backends import services as backend_services

ROOT = Path(__file__).resolve().parent.parent.parent
CONCURRENCY = 8


@pytest.fixture
def sync_owner(transactional_db: None, upstream: Upstream) -> User:
    backend = backend_services.add_backend(name="up", base_url=upstream.base_url)
    backend_services.add_model(backend=backend, name="m")
    return make_users().owner


class Workers:
    """Runner processes over the test's database."""

    def __init__(self) -> None:
        self.alive: list[subprocess.Popen[str]] = []

    def start(self) -> subprocess.Popen[str]:
        home = settings.PATCHBAY_HOME
        environment = {**os.environ, "PATCHBAY_HOME": str(home), "DATABASE_URL": f"sqlite:///{connection.settings_dict['NAME']}"}
        environment["DJANGO_SETTINGS_MODULE"] = "webapp.settings"
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.batches.worker"], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        self.alive.append(process)
        assert process.stdout
        assert process.stdout.readline() == "running\n"
        return process

    def end(self) -> None:
        for process in self.alive:
            process.kill()
            process.wait()


@pytest.fixture
def workers() -> Iterator[Workers]:
    found = Workers()
    yield found
    found.end()


def done_numbers(batch: Batch) -> set[int]:
    return set(BatchRow.objects.filter(batch=batch).exclude(state=0).values_list("number", flat=True))


def asked(upstream: Upstream) -> list[str]:
    return [received.body["messages"][-1]["content"] for received in list(upstream.requests) if received.method == "POST"]


def wait(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def kill_again_and_again(owner: User, upstream: Upstream, workers: Workers, *, kills: int, rows: int) -> None:
    """Kill the runner `kills` times at random moments, then let one finish, and check every row."""
    chance = random.Random(7)
    upstream.default = says("ok", first=0.01)
    batch = make_batch(owner, lines(rows), concurrency=CONCURRENCY)
    settled: set[int] = set()
    for _ in range(kills):
        process = workers.start()
        time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.wait()
        settled |= done_numbers(batch)
        before = len(upstream.requests)
        time.sleep(0.02)
        finished = {f"question {number}" for number in done_numbers(batch)}
        assert not finished & set(asked(upstream)[before:])
    workers.start()
    wait(lambda: Batch.objects.get(pk=batch.pk).status == "completed", 120)
    batch.refresh_from_db()
    assert (batch.completed, batch.failed, batch.total) == (rows, 0, rows)
    assert BatchRow.objects.filter(batch=batch, state=1).count() == rows
    assert settled <= done_numbers(batch)
    times = Counter(asked(upstream))
    assert len(times) == rows
    assert sum(times.values()) <= rows + kills * CONCURRENCY * 2  # only what was under way is sent again


def test_a_killed_runner_goes_on_where_it_was(sync_owner: User, upstream: Upstream, workers: Workers) -> None:
    """FAULTS 42: one output row for each input row, finished rows not sent again."""
    kill_again_and_again(sync_owner, upstream, workers, kills=3, rows=400)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_a_runner_killed_a_hundred_times_loses_nothing(sync_owner: User, upstream: Upstream, workers: Workers) -> None:
    """FAULTS 42: `kill -9` at any moment, 100 times."""
    kill_again_and_again(sync_owner, upstream, workers, kills=100, rows=20_000)


def test_two_processes_share_the_work_and_one_takes_over_from_a_killed_one(sync_owner: User, upstream: Upstream, workers: Workers) -> None:
    upstream.default = says("ok", first=0.05)
    batch = make_batch(sync_owner, lines(400), concurrency=CONCURRENCY)
    first = workers.start()
    workers.start()
    wait(lambda: len(set(batch.chunks.exclude(owner="").values_list("owner", flat=True))) == 2)
    first.kill()
    first.wait()
    workers.start()  # frees what the dead one held
    wait(lambda: Batch.objects.get(pk=batch.pk).status == "completed")
    assert BatchRow.objects.filter(batch=batch, state=1).count() == 400
    assert len(asked(upstream)) <= 400 + 2 * CONCURRENCY
