"""Processes that start at the same moment, over nothing yet: what compose.yaml does."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.live import Live
from tests.machines import Postgres

ENVIRONMENT = {"DJANGO_SUPERUSER_USERNAME": "ada", "DJANGO_SUPERUSER_PASSWORD": "correct horse battery staple"}
USERS = "from webapp.accounts.models import User; print(User.objects.count())"


def start_together(*servers: Live) -> None:
    """Start them all at once; raises what one of them raised."""
    failures: list[RuntimeError] = []

    def start(server: Live) -> None:
        try:
            server.start()
        except RuntimeError as error:
            failures.append(error)

    threads = [threading.Thread(target=start, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def check(make: Callable[[int], Live]) -> None:
    servers = [make(number) for number in range(3)]
    try:
        start_together(*servers)
        assert servers[0].run_python(USERS).strip() == "1"
        for server in servers:
            assert server.output().count("Traceback") == 0
    finally:
        for server in servers:
            server.stop()


@pytest.mark.slow
def test_over_one_folder_they_prepare_it_one_after_the_other(tmp_path: Path) -> None:
    check(lambda number: Live(tmp_path, environment=ENVIRONMENT))


@pytest.mark.slow
@pytest.mark.postgres
def test_over_one_postgresql_they_migrate_it_one_after_the_other(tmp_path: Path, postgres: Postgres) -> None:
    """Machines with a folder each."""
    url = postgres.url(f"together-{uuid.uuid4().hex[:8]}")
    secret = "a secret that all processes share, long and random enough"

    def make(number: int) -> Live:
        (tmp_path / str(number)).mkdir()
        environment = {**ENVIRONMENT, "DATABASE_URL": url, "PATCHBAY_SECRET_KEY": secret, "PATCHBAY_DB_POOL": "4"}
        return Live(tmp_path / str(number), environment=environment)

    check(make)
