"""The tests of search again, on PostgreSQL with pgvector: the engine's each day; ingestion, pages and commands among the slow ones."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.machines import Postgres

HERE = Path(__file__).parent
AGAIN = sorted(path.name for path in HERE.glob("test_*.py") if path.name not in {"test_postgres.py", "test_index.py", "test_parsing.py"})


def passed_on(postgres: Postgres, *files: str) -> int:
    """How many tests of these files pass there; all that are run must."""
    env = os.environ | {"PATCHBAY_TEST_DATABASE_URL": postgres.url(f"search-{uuid.uuid4().hex[:8]}")}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:randomly",
        "-m",
        "not slow and not postgres",
        *(str(HERE / name) for name in files),
    ]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    found = re.search(r"(\d+) passed", done.stdout)
    return int(found[1]) if found else 0


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_the_engine_s_tests_hold_on_postgresql(postgres: Postgres) -> None:
    assert passed_on(postgres, "test_index.py") == 26


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(900)
def test_ingestion_pages_and_commands_hold_on_postgresql(postgres: Postgres) -> None:
    assert passed_on(postgres, *AGAIN) > 70
