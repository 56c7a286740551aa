"""The engine's tests again, on PostgreSQL with pgvector."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from tests.machines import Postgres


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_the_engine_s_tests_hold_on_postgresql(postgres: Postgres) -> None:
    env = os.environ | {"PATCHBAY_TEST_DATABASE_URL": postgres.url(f"search-{uuid.uuid4().hex[:8]}")}
    command = [sys.executable, "-m", "pytest", "-p", "no:randomly", "tests/search/test_index.py"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert "12 passed" in done.stdout
