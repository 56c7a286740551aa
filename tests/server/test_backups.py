"""Backup while running, restore elsewhere."""

from __future__ import annotations

import itertools
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live import Live


def users(home: Path) -> list[tuple[str]]:
    with sqlite3.connect(home / "patchbay.sqlite3") as database:
        return database.execute("SELECT username FROM accounts_user ORDER BY id").fetchall()


@contextmanager
def busy(folder: Path) -> Iterator[None]:
    """Files that grow, come and go, as documents do that are indexed and deleted."""
    stop = threading.Event()

    def write() -> None:
        with (folder / "growing").open("ab", buffering=0) as growing:
            for number in itertools.count():
                growing.write(bytes(1024))
                (folder / f"passing-{number}").write_bytes(b"x")
                (folder / f"passing-{number - 20}").unlink(missing_ok=True)
                if stop.wait(0.001):
                    return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def test_a_backup_of_a_running_server_is_restored_elsewhere(new_live: Callable[..., Live], tmp_path: Path) -> None:
    """Rows, files and secrets arrive, whatever else is written meanwhile; the restored server signs the same people in."""
    live = new_live()
    (live.home / "files").mkdir(exist_ok=True)
    (live.home / "files" / "kept").write_bytes(b"kept")
    archive = tmp_path / "backup.tar.gz"
    with busy(live.home / "files"):
        done = live.manage("backup", str(archive))
    assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600
    for command in (["restore", str(archive), "--force"], ["copy_database", "--to", f"sqlite:///{tmp_path}/copy"]):
        refused = live.manage(*command)
        assert refused.returncode == 1
        assert "A server is running here: stop it first" in refused.stderr
    (tmp_path / "home").mkdir()
    other = Live(tmp_path / "home")
    done = other.manage("restore", str(archive))
    assert done.returncode == 0, done.stderr
    assert users(other.home) == users(live.home)
    assert (other.home / "files" / "kept").read_bytes() == b"kept"
    assert (other.home / "secret_key").read_text() == (live.home / "secret_key").read_text()
    live.stop()
    for prepared in ("static", "static.stamp"):  # what is no state: compressing it again takes seconds
        (live.home / prepared).rename(other.home / prepared)
    other.start()
    try:
        other.sign_in("owner").close()
    finally:
        other.stop()


@pytest.mark.slow
def test_a_restore_never_replaces_a_database_by_surprise(new_live: Callable[..., Live], tmp_path: Path) -> None:
    live = new_live()
    archive = tmp_path / "backup.tar.gz"
    live.manage("backup", str(archive))
    live.stop()
    refused = live.manage("restore", str(archive))
    assert refused.returncode == 1
    assert "--force" in refused.stderr
    assert live.manage("restore", str(archive), "--force").returncode == 0
    assert users(live.home) != []


@pytest.mark.slow
def test_a_damaged_backup_changes_nothing(new_live: Callable[..., Live], tmp_path: Path) -> None:
    live = new_live()
    archive = tmp_path / "backup.tar.gz"
    live.manage("backup", str(archive))
    live.stop()
    before = users(live.home)
    archive.write_bytes(archive.read_bytes()[:-2000])
    refused = live.manage("restore", str(archive), "--force")
    assert refused.returncode == 1
    assert "damaged" in refused.stderr
    assert users(live.home) == before
