"""Batches on Celery's workers: real Redis, real workers, a real server that hands out."""

from __future__ import annotations

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.batches.conftest import lines
from tests.live import ROOT, Live
from tests.machines import Redis
from tests.upstream import Upstream, says

pytestmark = pytest.mark.redis
STATE = """
import json
from batches.models import Batch, BatchRow
batch = Batch.objects.get()
good = BatchRow.objects.filter(state=1).count()
print(json.dumps([batch.status, batch.completed, batch.failed, good]))
"""


class Worker:
    """A Celery worker process."""

    def __init__(self, live: Live, name: str) -> None:
        self.log = live.home / f"{name}.log"
        command = [sys.executable, "-m", "celery", "-A", "webapp", "worker", "-c", "1", "-n", name, "--loglevel", "INFO"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, cwd=ROOT, env=live.env, stdout=log, stderr=log)

    def done(self) -> int:
        return self.log.read_text().count("succeeded in")

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + 60
        while " ready." not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.1)

    def end(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def start_workers() -> Iterator[Callable[[Live, int], list[Worker]]]:
    started: list[Worker] = []

    def start(live: Live, count: int) -> list[Worker]:
        started.extend(Worker(live, f"worker{number}") for number in range(count))
        for worker in started:
            worker.wait_until_ready()
        return started

    yield start
    for worker in started:
        worker.end()


def submit(live: Live, upstream: Upstream, tmp_path: Path, rows: int) -> None:
    assert live.manage("add_backend", "--name", "up", "--base-url", upstream.base_url).returncode == 0
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(lines(rows)))
    client = live.sign_in("owner")
    with path.open("rb") as file:
        response = client.post("/batches/new/", data={"executor": "local", "concurrency": "4"}, files={"file": file})
    assert response.status_code == 302


def state(live: Live) -> Any:
    return json.loads(live.run_python(STATE))


def until_completed(live: Live, rows: int, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while (found := state(live))[0] != "completed":
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    assert found == ["completed", rows, 0, rows]


def asked(upstream: Upstream) -> int:
    return sum(received.path.endswith("chat/completions") for received in upstream.requests)


@pytest.mark.slow
def test_two_workers_do_the_work_between_them(
    new_live: Callable[..., Live], redis: Redis, upstream: Upstream, start_workers: Callable[[Live, int], list[Worker]], tmp_path: Path
) -> None:
    upstream.default = says("ok", first=0.02)
    live = new_live(REDIS_URL=redis.url)
    workers = start_workers(live, 2)
    submit(live, upstream, tmp_path, 320)
    until_completed(live, 320)
    assert all(worker.done() for worker in workers)
    assert asked(upstream) == 320


def stop_outside_a_transaction(live: Live, pids: list[str]) -> None:
    """Stop processes so that none holds SQLite's write lock: it would stop everybody, which is why many machines want PostgreSQL."""
    while True:
        subprocess.run(["kill", "-STOP", *pids], check=True)
        try:
            with sqlite3.connect(live.home / "patchbay.sqlite3", timeout=1, isolation_level=None) as probe:
                probe.execute("BEGIN IMMEDIATE")
                probe.execute("ROLLBACK")
        except sqlite3.OperationalError:
            subprocess.run(["kill", "-CONT", *pids], check=True)
        else:
            return


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_worker_stopped_for_longer_than_its_lease_spoils_nothing(
    new_live: Callable[..., Live], redis: Redis, upstream: Upstream, start_workers: Callable[[Live, int], list[Worker]], tmp_path: Path
) -> None:
    """FAULTS 42: it is overtaken while it sleeps, and its late writes are no-ops."""
    upstream.default = says("ok", first=0.1)
    live = new_live(REDIS_URL=redis.url)
    workers = start_workers(live, 2)
    submit(live, upstream, tmp_path, 640)
    upstream.wait_for(60, 30)
    children = subprocess.run(["pgrep", "-P", str(workers[0].process.pid)], capture_output=True, text=True, check=True).stdout.split()
    stop_outside_a_transaction(live, children)
    until_completed(live, 640, 200)
    for pid in children:
        subprocess.run(["kill", "-CONT", pid], check=True)
    time.sleep(3)
    assert state(live) == ["completed", 640, 0, 640]
    assert asked(upstream) <= 640 + 8
