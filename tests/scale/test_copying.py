"""From SQLite to PostgreSQL, for real."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import Live, copied
from tests.machines import Postgres
from tests.server.test_database_copy import SOME_ROWS

pytestmark = [pytest.mark.slow, pytest.mark.postgres]


def test_an_installation_moves_to_postgresql(populated_home: Path, tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> None:
    """Every table arrives with the same count and hash, the same people sign in, and new rows get new ids."""
    live = Live(copied(populated_home, tmp_path_factory))
    live.run_python(SOME_ROWS)
    refused = live.manage("copy_database", "--to", postgres.url("ascii", "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"))
    assert "SQL_ASCII, not UTF8" in refused.stderr
    done = live.manage("copy_database", "--to", postgres.url("moved"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout
    live.environment["DATABASE_URL"] = postgres.url("moved")
    live.start()
    try:
        live.sign_in("owner").close()
        created = live.run_python("from webapp.accounts.models import User; print(User.objects.create_user('new').pk)")
        assert int(created) == 4
    finally:
        live.stop()
