"""A grown installation: two web processes over one PostgreSQL and one Redis; and one with two Celery workers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import MAKE_CAST, PREPARE, Live, copied
from tests.machines import Postgres, Redis
from tests.scale.installation import LEASE_SECONDS, Installation, NoBatches, Worker
from tests.upstream import Upstream

SHARED_SECRET = "a secret that both processes share, long and random enough"


@pytest.fixture
def two_webs(
    prepared_home: Path, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis
) -> Iterator[tuple[Live, Live]]:
    """Two running web processes, A and B, with the usual users signed up."""
    home = copied(prepared_home, tmp_path_factory)
    environment = {
        "DATABASE_URL": postgres.url(f"two-webs-{uuid.uuid4().hex[:8]}"),
        "REDIS_URL": redis.url,
        "PATCHBAY_SECRET_KEY": SHARED_SECRET,
        "PATCHBAY_DB_POOL": "12",
    }
    first, second = Live(home, environment=environment), Live(home, environment=environment)
    first.run_python(PREPARE)
    first.run_python(MAKE_CAST)
    first.start()
    second.start()
    yield first, second
    second.stop()
    first.stop()


@pytest.fixture(scope="package")
def installation(prepared_home: Path, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis) -> Iterator[Installation]:
    """Two web processes and two workers, shared by the tests of this folder: who stops something starts it again."""
    home, database = copied(prepared_home, tmp_path_factory), postgres.url(f"grown-{uuid.uuid4().hex[:8]}")
    environment = {
        "DATABASE_URL": database,
        "REDIS_URL": redis.url.replace("/0", "/1"),
        "PATCHBAY_SECRET_KEY": SHARED_SECRET,
        "PATCHBAY_LEASE_SECONDS": str(LEASE_SECONDS),
        "PATCHBAY_DB_POOL": "12",
    }
    first, second = Live(home, environment=environment), Live(home, environment=environment)
    upstream = Upstream()
    upstream.files = NoBatches()
    first.run_python(PREPARE)
    first.run_python(MAKE_CAST)
    assert first.manage("add_backend", "--name", "slow", "--base-url", upstream.base_url).returncode == 0
    assert first.manage("add_route", "--name", "default", "--step", "slow/m").returncode == 0
    workers = [Worker(first, "worker1"), Worker(first, "worker2")]
    made = Installation(first, second, workers, upstream, database, first.manage("create_token", "--user", "owner").stdout.strip())
    first.start()
    for worker in workers:
        worker.start()
    yield made
    for worker in workers:
        worker.kill()
    second.stop()
    first.stop()
    upstream.stop()


@pytest.fixture(scope="package")
def both_webs(installation: Installation) -> Installation:
    """The same with its second web process running."""
    installation.second.start()
    return installation
