"""FAULTS 49: writers do not lock each other out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.live import ROOT, Live, copied

WRITERS = 8
WRITE = """
import time
from webapp.accounts.models import User
from django.db import transaction
until = time.monotonic() + SECONDS
written = 0
while time.monotonic() < until:
    with transaction.atomic():
        user = User.objects.select_for_update().get(username="owner")
        user.last_name = str(written)
        user.save()
    written += 1
print(written)
"""


def write_at_once(live: Live, seconds: float) -> list[int]:
    """How many transactions each of the writers committed; a writer that fails raises."""
    command = [sys.executable, "manage.py", "shell", "--no-imports", "-v0", "-c", WRITE.replace("SECONDS", str(seconds))]
    pipe = subprocess.PIPE
    writers = [subprocess.Popen(command, cwd=ROOT, env=live.env, stdout=pipe, stderr=pipe, text=True) for _ in range(WRITERS)]
    results = [(writer.communicate(timeout=seconds + 60), writer.returncode) for writer in writers]
    failures = [stderr for (_, stderr), status in results if status]
    assert failures == []
    return [int(stdout) for (stdout, _), _ in results]


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=[pytest.mark.slow, pytest.mark.timeout(200)])])
def test_eight_writers_never_see_a_locked_database(populated_home: Path, tmp_path_factory: pytest.TempPathFactory, seconds: int) -> None:
    """FAULTS 49: on SQLite, eight processes at once; all commit, none is told "database is locked"."""
    live = Live(copied(populated_home, tmp_path_factory))
    written = write_at_once(live, seconds)
    assert sum(written) > 50 * seconds
