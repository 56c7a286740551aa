"""The operating system fails: writes, syncs, and memory (fiu-run), and the wall clock jumps by an hour (faketime).

Clients get an answer or an error within seconds, acknowledged work is kept, and all works again when the fault ends.
"""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx2
import pytest

from tests.live import Live
from tests.upstream import Upstream, says

FAULT_SECONDS = 12.0
LONGEST_SECONDS = 30.0
"""The longest that a client waits for an answer or an error while a fault lasts."""
RECOVERY_SECONDS = 15.0
FIU = [Path("/usr/lib/fiu") / name for name in ("fiu_run_preload.so", "fiu_posix_preload.so")]
FAKETIME = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
FAULTS = {
    "I/O errors of writes": [("posix/io/rw/write", 5, 0.02), ("posix/io/rw/pwrite", 5, 0.02)],
    "I/O errors of syncs": [("posix/io/sync/fsync", 5, 0.02), ("posix/io/sync/fdatasync", 5, 0.02)],
    "a full disk": [("posix/io/rw/pwrite", 28, 0.02), ("posix/io/oc/open", 28, 0.02)],
    "no memory": [("posix/mm/mmap", 12, 0.02), ("libc/mm/malloc", 12, 0.0001)],
}
"""Points of failure with their errno and probability. Python allocates thousands of times for a request."""
needs_fiu = pytest.mark.skipif(not shutil.which("fiu-ctrl"), reason="needs Debian's fiu-utils")
needs_faketime = pytest.mark.skipif(FAKETIME is None, reason="needs Debian's faketime")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
Made = Callable[..., Live]


@dataclass
class Clients:
    """Three clients that store responses and files, again and again, and note what the server acknowledged."""

    live: Live
    token: str
    over: threading.Event = field(default_factory=threading.Event)
    stored: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    longest: float = 0.0

    def __enter__(self) -> Self:
        self._threads = [threading.Thread(target=self._run) for _ in range(3)]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        with httpx2.Client(base_url=self.live.url, headers={"authorization": f"Bearer {self.token}"}, timeout=60) as client:
            while not self.over.is_set():
                self._note(client, self.stored, "/v1/responses", json={"model": "up/m", "input": "Hi"})
                self._note(client, self.files, "/v1/files", data={"purpose": "assistants"}, files={"file": ("a.md", b"# Words\n" * 500)})

    def _note(self, client: httpx2.Client, kept: list[str], path: str, **request: Any) -> None:
        began = time.monotonic()
        try:
            response = client.post(path, **request)
        except httpx2.TransportError:
            self.statuses[0] += 1
        else:
            self.statuses[response.status_code] += 1
            if response.status_code == 200:
                kept.append(response.json()["id"])
        self.longest = max(self.longest, time.monotonic() - began)


def token_of(live: Live, upstream: Upstream) -> str:
    upstream.default = says("Hello")
    assert live.manage("add_backend", "--name", "up", "--base-url", upstream.base_url).returncode == 0
    return live.manage("create_token", "--user", "owner").stdout.strip()


def works_again(live: Live, token: str) -> None:
    """Wait until the server answers questions and reports to be ready."""
    deadline = time.monotonic() + RECOVERY_SECONDS
    while True:
        try:
            ready = httpx2.get(f"{live.url}/readyz", timeout=5).status_code
            body = {"model": "up/m", "input": "Still there?"}
            asked = httpx2.post(f"{live.url}/v1/responses", json=body, headers={"authorization": f"Bearer {token}"}, timeout=10).status_code
        except httpx2.TransportError:
            ready = asked = 0
        if (ready, asked) == (200, 200):
            return
        assert time.monotonic() < deadline, f"readyz {ready}, responses {asked}:\n{live.output()[-3000:]}"
        time.sleep(0.2)


def supervise(live: Live) -> bool:
    """Start the server again if it ended or answers no health check, as a supervisor does; return whether it was needed.

    Python cannot promise more without memory: a thread whose start fails leaves its starter waiting for ever.
    """
    assert live.process
    with contextlib.suppress(httpx2.TransportError):
        if live.process.poll() is None and httpx2.get(f"{live.url}/healthz", timeout=RECOVERY_SECONDS).status_code == 200:
            return False
    live.kill()
    live.start()
    return True


@needs_fiu
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_system_loses_nothing_that_was_acknowledged(
    new_live: Made, make_upstream: Callable[..., Upstream], tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    prefix = str(tmp_path / "fiu")
    live = new_live(LD_PRELOAD=" ".join(map(str, FIU)), FIU_CTRL_FIFO=prefix)
    token = token_of(live, make_upstream())
    works_again(live, token)
    assert live.process
    pid = str(live.process.pid)

    def control(command: str) -> None:
        if live.process and live.process.poll() is None:
            subprocess.run(["fiu-ctrl", "-f", prefix, "-c", command, pid], check=True, timeout=10)

    with Clients(live, token) as clients:
        time.sleep(1)
        for name, error, probability in FAULTS[fault]:
            control(f"enable_random name={name},probability={probability},failinfo={error}")
        time.sleep(FAULT_SECONDS)
        for name, *_ in FAULTS[fault]:
            control(f"disable name={name}")
    restarted = fault == "no memory" and supervise(live)
    works_again(live, token)
    with httpx2.Client(base_url=live.url, headers={"authorization": f"Bearer {token}"}, timeout=30) as client:
        lost = [key for key in clients.stored if client.get(f"/v1/responses/{key}").status_code != 200]
        lost += [key for key in clients.files if client.get(f"/v1/files/{key}/content").status_code != 200]
    with capsys.disabled():
        counted = ", ".join(f"{count} × {status or 'no answer'}" for status, count in sorted(clients.statuses.items()))
        print(f"\n{fault}: {counted}; the longest took {clients.longest:.1f} s; {len(lost)} lost{', restarted' if restarted else ''}")
    assert lost == []
    assert clients.statuses[200] > 0
    assert restarted or clients.longest < LONGEST_SECONDS


@needs_faketime
def test_a_clock_that_jumps_by_an_hour_breaks_no_running_work(
    new_live: Made, make_upstream: Callable[..., Upstream], tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    live = new_live(LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1")
    upstream = make_upstream()
    token = token_of(live, upstream)
    upstream.default = says("one two three four five six seven eight", pace=0.5)
    with httpx2.Client(base_url=live.url, headers={"authorization": f"Bearer {token}"}, timeout=60) as client:
        for jump in ("+1h", "-1h", "+0"):
            keys = [
                client.post("/v1/responses", json={"model": "up/m", "input": f"{jump} {number}", "background": True}).json()["id"]
                for number in range(3)
            ]
            time.sleep(1)
            clock.write_text(jump)
            deadline = time.monotonic() + 40
            while (states := {client.get(f"/v1/responses/{key}").json()["status"] for key in keys}) & {"queued", "in_progress"}:
                assert time.monotonic() < deadline, states
                time.sleep(0.3)
            assert states == {"completed"}, jump
    assert len([request for request in upstream.requests if request.method == "POST"]) == 9, "each is answered once"


@needs_faketime
def test_work_of_a_killed_process_is_found_although_the_clock_was_set_back(
    new_live: Made, make_upstream: Callable[..., Upstream], tmp_path: Path
) -> None:
    clock = tmp_path / "clock"
    clock.write_text("+0")
    live = new_live(LD_PRELOAD=str(FAKETIME), FAKETIME_TIMESTAMP_FILE=str(clock), FAKETIME_NO_CACHE="1", FAKETIME_DONT_FAKE_MONOTONIC="1")
    upstream = make_upstream()
    token = token_of(live, upstream)
    upstream.default = says("one two three four five six seven eight", pace=2)
    headers = {"authorization": f"Bearer {token}"}
    body = {"model": "up/m", "input": "Hi", "background": True}
    key = httpx2.post(f"{live.url}/v1/responses", json=body, headers=headers, timeout=30).json()["id"]
    time.sleep(2)
    live.kill()
    clock.write_text("-1h")
    upstream.default = says("Hello")
    live.start()
    deadline = time.monotonic() + 30
    while (state := httpx2.get(f"{live.url}/v1/responses/{key}", headers=headers).json()["status"]) in {"queued", "in_progress"}:
        assert time.monotonic() < deadline, f"still {state}"
        time.sleep(0.3)
    assert state in {"completed", "incomplete"}
