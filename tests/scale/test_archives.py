"""Backup and restore with PostgreSQL, for real."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.live import MAKE_CAST, Live
from tests.machines import Postgres

pytestmark = pytest.mark.postgres
USERS = "from webapp.accounts.models import User; print(*User.objects.order_by('pk').values_list('username', flat=True))"
LOSE = "from webapp.accounts.models import User; User.objects.filter(username='owner').delete()"


@pytest.mark.slow
def test_a_backup_brings_back_what_was_lost(tmp_path: Path, postgres: Postgres) -> None:
    """`pg_dump` and `pg_restore` of the running server, through the product's commands."""
    path = f"{postgres.server.bin_path}{os.pathsep}{os.environ['PATH']}"
    live = Live(tmp_path, environment={"DATABASE_URL": postgres.url("kept"), "PATH": path})
    live.manage("migrate")
    live.run_python(MAKE_CAST)
    archive = tmp_path.parent / "kept.tar.gz"
    done = live.manage("backup", str(archive))
    assert done.returncode == 0, done.stderr
    live.run_python(LOSE)
    refused = live.manage("restore", str(archive))
    assert "--force" in refused.stderr
    done = live.manage("restore", str(archive), "--force")
    assert done.returncode == 0, done.stderr
    assert live.run_python(USERS).split() == ["owner", "other", "administrator"]
