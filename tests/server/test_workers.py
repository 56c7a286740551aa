"""`up --workers 2`: two processes share the port, on SQLite."""

from __future__ import annotations

import os
import signal
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.faults.sockets import attached, handshake
from tests.live import Live, copied
from tests.upstream import Upstream, endless


@pytest.fixture(scope="module")
def workers(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """One server of two processes for the tests that do not stop it."""
    server = Live(copied(populated_home, tmp_path_factory), workers=2).start()
    yield server
    server.stop()


def pids(live: Live) -> list[int]:
    """The worker processes of a supervisor."""
    assert live.process
    return [int(pid) for pid in Path(f"/proc/{live.process.pid}/task/{live.process.pid}/children").read_text().split()]


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def ready(live: Live) -> bool:
    return len(list((live.home / "workers").glob("*.ready"))) == 2


def test_an_answer_of_one_worker_is_seen_and_stopped_through_the_other(workers: Live, upstream: Upstream) -> None:
    """Many sockets land on both processes: every one of them sees the answer, and one that is not its writer stops it."""
    wait_for(lambda: ready(workers))
    upstream.default = endless(pace=0.02)
    workers.stop()  # workers that start now read the new route at once
    workers.manage("add_backend", "--name", "up", "--base-url", upstream.base_url)
    workers.manage("add_route", "--name", "default", "--step", "up/m")
    workers.start()
    wait_for(lambda: ready(workers))
    chat, headers = uuid.uuid4(), handshake(workers, "owner")
    with attached(workers, headers, chat) as first:
        first.say("send", text="Count", model="default")
        first.until("more more")
        for _ in range(8):
            with attached(workers, headers, chat) as other:
                other.until("more more")
        with attached(workers, headers, chat) as last:
            last.say("stop")
            first.until('data-status="stopped"')


def test_a_worker_that_dies_is_started_again_and_the_port_stays_open(workers: Live) -> None:
    wait_for(lambda: ready(workers))
    before = pids(workers)
    os.kill(before[0], signal.SIGKILL)
    wait_for(lambda: len(pids(workers)) == 2 and before[0] not in pids(workers))
    assert httpx2.get(f"{workers.url}/healthz").status_code == 200


def test_a_stop_ends_every_worker(new_live: Callable[..., Live]) -> None:
    live = new_live(workers=2)
    wait_for(lambda: ready(live))
    children = pids(live)
    assert live.stop() == 0
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]


def test_a_port_in_use_is_explained(workers: Live, new_live: Callable[..., Live]) -> None:
    taken = workers.manage("up", "--port", str(workers.port), "--workers", "2")
    assert taken.returncode != 0
    assert "Choose another port" in taken.stderr
