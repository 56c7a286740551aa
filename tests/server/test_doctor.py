"""`manage.py doctor` and what `up` prepares."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.live import Live, copied, free_port


@pytest.fixture
def installation(populated_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Live:
    """A prepared installation, not running."""
    return Live(copied(populated_home, tmp_path_factory))


def test_a_sound_installation_is_sound(installation: Live) -> None:
    done = installation.manage("doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    for subject in ("database: sqlite, up to date", "channel layer:", "tokenizer: counts offline", "disk:", "secret_key is private"):
        assert subject in done.stdout


def test_a_secret_that_others_can_read_is_an_error_with_its_cure(installation: Live) -> None:
    (installation.home / "secret_key").chmod(0o644)
    done = installation.manage("doctor")
    assert done.returncode == 1
    assert f"Run: chmod 600 {installation.home}/secret_key" in done.stdout


def test_without_the_database_it_says_why_and_looks_at_the_rest(prepared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    live = Live(copied(prepared_home, tmp_path_factory), environment={"DATABASE_URL": f"postgres://x:hidden@127.0.0.1:{free_port()}/x"})
    done = live.manage("doctor")
    assert done.returncode == 1
    assert "Connection refused" in done.stdout
    assert "tokenizer: counts offline" in done.stdout
    assert "Fix the database first" in done.stdout
    assert "Traceback" not in done.stderr
    assert "hidden" not in done.stdout + done.stderr


def test_a_setting_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    done = Live(tmp_path, environment={"PATCHBAY_STOP_GRACE": "soon"}).manage("doctor")
    assert done.returncode == 1
    assert done.stderr == "Invalid settings: PATCHBAY_STOP_GRACE is 'soon': write a whole number\n"


def test_tables_that_lag_behind_are_a_warning(prepared_home: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    done = Live(tmp_path / "home").manage("doctor")
    assert "migrations are not applied" in done.stdout


def test_the_first_administrator_comes_from_the_environment(prepared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """`DJANGO_SUPERUSER_*`: created by `up` while there is no user; only then."""
    environment = {"DJANGO_SUPERUSER_USERNAME": "ada", "DJANGO_SUPERUSER_PASSWORD": "correct horse battery staple"}
    live = Live(copied(prepared_home, tmp_path_factory), environment=environment).start()
    try:
        assert "Create the first account" not in live.output()
        names = live.run_python("from webapp.accounts.models import User; print(*User.objects.values_list('username', 'is_superuser'))")
        assert names.strip() == "('ada', True)"
    finally:
        assert live.stop() == 0
