"""A batch on PostgreSQL: the same statements, the same counts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.batches.conftest import lines
from tests.live import MAKE_CAST, PREPARE, Live
from tests.machines import Postgres
from tests.upstream import Received, Upstream, Wire, error, says

pytestmark = pytest.mark.postgres
STATE = """
import json
from batches.models import Batch, BatchTick
from batches.results import outputs
batch = Batch.objects.get()
good = [json.loads(line)["custom_id"] for line in outputs.lines(batch, good=True)]
ticks = sum(BatchTick.objects.values_list("ok", flat=True))
print(json.dumps([batch.status, batch.completed, batch.failed, good == [f"row-{n}" for n in range(1, 101) if n != 7], ticks]))
"""


async def picky(received: Received, wire: Wire) -> None:
    bad = received.body["messages"][-1]["content"] == "question 7"
    await (error("no") if bad else says("ok"))(received, wire)


@pytest.mark.slow
def test_a_batch_runs_on_postgresql(postgres: Postgres, prepared_home: Path, upstream: Upstream, tmp_path: Path) -> None:
    upstream.default = picky
    live = Live(tmp_path, environment={"DATABASE_URL": postgres.url("batches")})
    live.run_python(PREPARE)
    live.run_python(MAKE_CAST)
    live.start()
    try:
        assert live.manage("add_backend", "--name", "up", "--base-url", upstream.base_url).returncode == 0
        path = tmp_path / "in.jsonl"
        path.write_bytes(b"".join(lines(100)))
        client = live.sign_in("owner")
        with path.open("rb") as file:
            page = client.post("/batches/new/", data={"executor": "local"}, files={"file": file}).headers["location"]
        _until(lambda: 'data-status="completed"' in client.get(page).text)
        assert json.loads(live.run_python(STATE)) == ["completed", 99, 1, True, 99]
        assert client.get(f"{page}rows/?q=question").status_code == 200
    finally:
        live.stop()


def _until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.3)
