"""Compare two Celery workers with one on the same batch, over PostgreSQL and Redis: `python -m bench workers [rows]`.

The upstream answers every request after 0.1 s at any concurrency, so it is not the bottleneck.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import django

from bench.instant import instant_upstream

if TYPE_CHECKING:
    from tests.scale.installation import Installation

DELAY = 0.1
ROUNDS = 3
SECONDS = """
SELECT extract(epoch FROM max(row.finished_at) - min(batch.in_progress_at))
FROM batches_batchrow row JOIN batches_batch batch ON batch.id = row.batch_id WHERE batch.id = %s
"""


@contextlib.contextmanager
def installed(base_url: str) -> Iterator[Installation]:
    """Yield a running web process and two workers that are not started yet."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    from tests.live import MAKE_CAST, PREPARE, Live
    from tests.machines import running_postgres, running_redis
    from tests.scale.installation import Installation, Worker
    from tests.upstream import Upstream

    with tempfile.TemporaryDirectory() as home, running_postgres() as postgres, running_redis() as redis:
        database = postgres.url("bench")
        live = Live(Path(home), environment={"DATABASE_URL": database, "REDIS_URL": redis.url})
        live.run_python(PREPARE)
        live.run_python(MAKE_CAST)
        live.manage("add_backend", "--name", "slow", "--base-url", base_url)
        live.manage("add_route", "--name", "m", "--step", "slow/m")
        workers = [Worker(live, "worker1"), Worker(live, "worker2")]
        token = live.manage("create_token", "--user", "owner").stdout.strip()
        live.start()
        yield Installation(live, live, workers, Upstream(), database, token, model="m")
        for worker in workers:
            worker.kill()
        live.stop()


def per_second(installation: Installation, rows: int) -> float:
    """Return rows per second of a batch, from its start to its last answer."""
    job = installation.begin(rows)
    job.finish()
    return rows / float(installation.query(SECONDS, job.key)[0][0])


def main() -> None:
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 3000
    with instant_upstream(DELAY) as base_url, installed(base_url) as installation:
        first, second = installation.workers
        first.start()
        alone, together = [], []
        per_second(installation, 100)  # warm
        for _ in range(ROUNDS):
            alone.append(per_second(installation, rows))
            second.start()
            per_second(installation, 100)
            together.append(per_second(installation, rows))
            second.kill()
    one, two = statistics.median(alone), statistics.median(together)
    print(f"{rows:,} rows, upstream of {DELAY * 1000:.0f} ms, 32 requests at once a worker: one {one:,.0f} rows/s, two {two:,.0f} rows/s")
    print(f"  two workers {two / one:.2f}x as fast as one (goal: 1.7x)")


if __name__ == "__main__":
    main()
