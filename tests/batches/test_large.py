"""Fifty thousand rows over a flaky backend, cancelled, killed and started again: each row has exactly one answer, its own."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from threading import Lock

import openai
import pytest
from openai.types import Batch

from tests.batches.conftest import CHAT
from tests.live import Live
from tests.scale.installation import NoBatches
from tests.upstream import Received, Reply, Upstream, Wire, says, status

ROWS = int(os.environ.get("LARGE_ROWS", "50000"))
CONCURRENCY = 32
"""The settings that a batch of the API runs with."""
FINAL = {"completed", "failed", "expired", "cancelled"}


class Flaky:
    """Echoes a question, but 5 % end in 500, 2 % in 429 with Retry-After, and the connection of 1 % is cut half-way."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self._random = Random(7)
        self._lock = Lock()

    async def __call__(self, received: Received, wire: Wire) -> None:
        roll, question = self._random.random(), received.body["messages"][-1]["content"]
        await self._reply(roll, question)(received, wire)

    def _reply(self, roll: float, question: str) -> Reply:
        if roll < 0.05:
            return status(500)
        if roll < 0.07:
            return status(429, headers={"retry-after-ms": "50"})
        if roll < 0.08:
            return _cut
        with self._lock:
            self.answered[question] += 1
        return says(f"echo: {question}")


async def _cut(received: Received, wire: Wire) -> None:
    await wire.start(200, "application/json")
    await wire.send(b'{"choices": [{"mess')
    received.close()


@pytest.fixture
def flaky(upstream: Upstream) -> Flaky:
    flaky = Flaky()
    upstream.default = flaky
    upstream.files = NoBatches()
    return flaky


@pytest.fixture
def live(new_live: Callable[..., Live], upstream: Upstream) -> Live:
    live = new_live()
    assert live.manage("add_backend", "--name", "up", "--base-url", upstream.base_url).returncode == 0
    assert live.manage("add_route", "--name", "flaky", "--step", "up/m").returncode == 0
    return live


@pytest.fixture
def client(live: Live) -> Iterator[openai.OpenAI]:
    token = live.manage("create_token", "--user", "owner").stdout.strip()
    with openai.OpenAI(api_key=token, base_url=f"{live.url}/v1", max_retries=5) as client:
        yield client


def requests(folder: Path) -> Path:
    path = folder / "requests.jsonl"
    with path.open("w") as file:
        for number in range(ROWS):
            body = {"model": "flaky", "messages": [{"role": "user", "content": f"question {number}"}]}
            file.write(json.dumps({"custom_id": f"row-{number}", "method": "POST", "url": CHAT, "body": body}) + "\n")
    return path


def until(client: openai.OpenAI, batch_id: str, what: Callable[[Batch], bool], *, seconds: float = 900) -> Batch:
    deadline = time.monotonic() + seconds
    while not what(batch := client.batches.retrieve(batch_id)):
        assert time.monotonic() < deadline, batch
        time.sleep(0.5)
    return batch


def done(batch: Batch) -> int:
    return batch.request_counts.completed if batch.request_counts else 0


def rows_of(client: openai.OpenAI, file_id: str | None) -> dict[str, dict[str, object]]:
    """The lines of an output or error file by custom_id, each of which is there once."""
    lines = [json.loads(line) for line in client.files.content(file_id).text.splitlines()] if file_id else []
    rows = {line["custom_id"]: line for line in lines}
    assert len(rows) == len(lines)
    return rows


def answers(client: openai.OpenAI, batch: Batch) -> dict[str, str]:
    return {
        name: line["response"]["body"]["choices"][0]["message"]["content"]  # type: ignore[index]  # a completion
        for name, line in rows_of(client, batch.output_file_id).items()
    }


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_fifty_thousand_rows_survive_it_all(live: Live, client: openai.OpenAI, flaky: Flaky, tmp_path: Path) -> None:
    """FAULTS 42, 43: cancelled half-way, what was not sent retried, that one killed and started again."""
    with requests(tmp_path).open("rb") as source:
        file = client.files.create(file=source, purpose="batch")
    first = client.batches.create(input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h")
    until(client, first.id, lambda batch: done(batch) > ROWS // 20)
    client.batches.cancel(first.id)
    cancelled = until(client, first.id, lambda batch: batch.status in FINAL)
    assert cancelled.status == "cancelled"
    assert cancelled.request_counts
    assert cancelled.request_counts.completed + cancelled.request_counts.failed == cancelled.request_counts.total == ROWS
    kept = answers(client, cancelled)
    assert len(kept) == done(cancelled)
    assert len(rows_of(client, cancelled.error_file_id)) == ROWS - len(kept)

    page = live.sign_in("owner").post(f"/batches/{_uuid(first.id)}/retry-failed/").headers["location"]
    second = client.batches.retrieve(f"batch_{page.strip('/').split('/')[-1].replace('-', '')}")
    for share in (4, 2):
        until(client, second.id, lambda batch, share=share: done(batch) > (ROWS - len(kept)) // share)  # type: ignore[misc]  # a default
        live.kill()
        live.start()
    ended = until(client, second.id, lambda batch: batch.status in FINAL)
    rest = answers(client, ended)
    assert (ended.status, rows_of(client, ended.error_file_id)) == ("completed", {})
    assert {**kept, **rest} == {f"row-{number}": f"echo: question {number}" for number in range(ROWS)}
    assert not kept.keys() & rest.keys()
    again = flaky.answered.total() - ROWS
    assert again <= 3 * CONCURRENCY, "only what was under way at the cancel and the kills is asked for again"


def _uuid(api_id: str) -> str:
    raw = api_id.removeprefix("batch_")
    return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
