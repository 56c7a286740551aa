"""A grown installation: two web processes over one PostgreSQL and one Redis."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.live import MAKE_CAST, PREPARE, Live, copied
from tests.machines import Postgres, Redis

SHARED_SECRET = "a secret that both processes share, long and random enough"


@pytest.fixture
def two_webs(
    prepared_home: Path, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, redis: Redis
) -> Iterator[tuple[Live, Live]]:
    """Two running web processes, A and B, with the cast signed up."""
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
