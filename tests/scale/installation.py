"""A grown installation, whole: two web processes and two Celery workers over one PostgreSQL and one Redis, and an upstream behind them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import openai
import psycopg

from tests.live import ROOT, Live
from tests.upstream import Upstream
from tests.upstream_files import FileRoom

LEASE_SECONDS = 4
PATIENCE = 45
START_SECONDS = 60
CHAT: Final = "/v1/chat/completions"
WORKER: Final = ["celery", "--app", "webapp.celery", "worker", "--concurrency", "1"]
"""As compose.yaml and deploy/patchbay-worker@.service start one."""


def wait_until(what: Callable[[], bool], why: str, *, seconds: float = PATIENCE) -> None:
    """Look again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, why
        time.sleep(0.05)


class NoBatches(FileRoom):
    """Of a server like most: it has no Batch API, so that batches run here."""

    def answer(self, method: str, path: str, headers: Mapping[str, str], raw: bytes) -> tuple[int, Any]:
        return 404, {"detail": "Not Found"}


@dataclass
class Worker:
    """A Celery worker: a process and its child, one group."""

    live: Live
    name: str
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until it takes tasks."""
        command = [*WORKER, "--hostname", f"{self.name}@%h", "--loglevel", "INFO"]
        ready = self.output().count(" ready.")
        with (self.live.home / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command], cwd=ROOT, env=self.live.env, stdout=log, stderr=log, start_new_session=True
            )
        wait_until(lambda: self.output().count(" ready.") > ready, f"{self.name} did not start", seconds=START_SECONDS)

    def send(self, what: signal.Signals) -> None:
        """Send a signal to the process and its child."""
        assert self.process
        os.killpg(self.process.pid, what)

    def kill(self) -> None:
        """SIGKILL: a lost machine."""
        if self.process:
            self.send(signal.SIGKILL)
            self.process.wait(15)
            self.process = None

    def holds(self, owner: str) -> bool:
        """Whether a lease's owner (`host/pid/…`) is this worker's process or its child."""
        assert self.process
        try:
            return os.getpgid(int(owner.split("/")[1])) == self.process.pid
        except ProcessLookupError:
            return False

    def output(self) -> str:
        log = self.live.home / f"{self.name}.log"
        return log.read_text(errors="replace") if log.exists() else ""


@dataclass
class Installation:
    """The whole, and what tests ask of it."""

    first: Live
    second: Live
    workers: Sequence[Worker]
    upstream: Upstream
    database: str
    token: str
    model: str = "slow/m"
    made: int = 0

    @cached_property
    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.first.url}/v1", api_key=self.token, timeout=20)

    def begin(self, rows: int) -> Job:
        """A batch of so many rows, through the official SDK."""
        self.made += 1
        prompts = [f"job {self.made} row {number}" for number in range(rows)]
        lines = [
            {
                "custom_id": prompt,
                "method": "POST",
                "url": CHAT,
                "body": {"model": self.model, "messages": [{"role": "user", "content": prompt}]},
            }
            for prompt in prompts
        ]
        data = "".join(json.dumps(line) + "\n" for line in lines).encode()
        file = self.client.files.create(file=("in.jsonl", data), purpose="batch")
        batch = self.client.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        return Job(self, batch.id, prompts)

    def query(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows from the database, past the product."""
        with psycopg.connect(self.database, autocommit=True) as connection:
            return connection.execute(statement.encode(), values).fetchall()


@dataclass
class Job:
    """A batch that was begun."""

    installation: Installation
    id: str
    prompts: list[str]

    @property
    def key(self) -> str:
        return self.id.removeprefix("batch_")

    def sent(self) -> Counter[str]:
        """How often each of its rows reached the upstream."""
        received = tuple(self.installation.upstream.requests)
        asked = [request.body["messages"][-1]["content"] for request in received if request.path.endswith("/chat/completions")]
        return Counter(prompt for prompt in asked if prompt in set(self.prompts))

    def kept(self) -> set[str]:
        """The rows that have a result."""
        rows = self.installation.query("SELECT custom_id FROM batches_batchrow WHERE batch_id = %s AND state <> 0", self.key)
        return {row[0] for row in rows}

    def owners(self) -> list[str]:
        """Return the workers that hold chunks of it."""
        rows = self.installation.query(
            "SELECT DISTINCT owner FROM batches_batchchunk WHERE batch_id = %s AND owner <> '' AND lease_until > now()", self.key
        )
        return [row[0] for row in rows]

    def is_held_by(self, worker: Worker) -> bool:
        return any(worker.holds(owner) for owner in self.owners())

    def wait_for_results(self, count: int) -> set[str]:
        """Wait until so many rows have a result; those."""
        wait_until(lambda: len(self.kept()) >= count, f"{self.id}: fewer than {count} results came")
        return self.kept()

    def finish(self) -> None:
        """Wait for the end, and check that every row has its one answer and was counted once."""
        wait_until(self.has_ended, f"{self.id} does not end")
        client = self.installation.client
        batch = client.batches.retrieve(self.id)
        assert batch.status == "completed", batch.errors
        assert batch.request_counts
        assert (batch.request_counts.total, batch.request_counts.completed, batch.request_counts.failed) == (
            len(self.prompts),
            len(self.prompts),
            0,
        )
        assert batch.output_file_id
        output = [json.loads(line) for line in client.files.content(batch.output_file_id).text.splitlines()]
        assert [line["custom_id"] for line in output] == self.prompts
        assert all(line["response"]["status_code"] == 200 for line in output)
        ticks = self.installation.query("SELECT sum(ok), sum(failed) FROM batches_batchtick WHERE batch_id = %s", self.key)
        assert ticks == [(len(self.prompts), 0)]

    def has_ended(self) -> bool:
        return self.installation.client.batches.retrieve(self.id).completed_at is not None
