"""Usage, its days, budgets and limits again, on PostgreSQL: sums of big integers and locked rows are other things there."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest

from tests.machines import Postgres

AGAIN = [
    "tests/backends/runtime/test_allowances.py",
    "tests/backends/config/test_limits.py",
    "tests/backends/reporting/test_retention.py",
    "tests/backends/runtime/test_budgets.py",
    "tests/backends/test_views.py",
    "tests/gateway/test_limits.py",
]


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_usage_and_limits_hold_on_postgresql(postgres: Postgres) -> None:
    env = os.environ | {"PATCHBAY_TEST_DATABASE_URL": postgres.url(f"usage-{uuid.uuid4().hex[:8]}")}
    done = subprocess.run([sys.executable, "-m", "pytest", *AGAIN], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
