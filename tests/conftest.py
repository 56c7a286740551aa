"""Fixtures that all tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from django.test import Client
from hypothesis import settings

from tests.live import browser, browser_page, chromium, live, new_live, populated_home, prepared_home
from tests.machines import postgres, redis
from tests.upstream import Upstream
from tests.users import Users, make_users
from webapp.backends.runtime import registry
from webapp.backends.services import add_backend
from webapp.core.database import in_database

settings.register_profile("patchbay", deadline=None)  # a busy machine is no failure
settings.load_profile("patchbay")

__all__ = ["browser", "browser_page", "chromium", "live", "new_live", "populated_home", "postgres", "prepared_home", "redis"]


PROCESSES = {
    "browser",
    "browser_page",
    "chromium",
    "installation",
    "live",
    "new_live",
    "populated_home",
    "postgres",
    "prepared_home",
    "redis",
    "workers",
}
"""Fixtures that start a process beside the tests."""
DATABASES = {"db", "transactional_db"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that need another process or the database, so that `make test-fast` can leave them out."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if PROCESSES & fixtures:
            item.add_marker("process")
        if DATABASES & fixtures or item.get_closest_marker("django_db"):
            item.add_marker("database")


@pytest.fixture
def users(db: None) -> Users:
    """The three people, in a fresh database."""
    return make_users()


@pytest.fixture
def as_owner(users: Users) -> Client:
    """A client signed in as the owner."""
    client = Client()
    client.force_login(users.owner)
    return client


@pytest.fixture
def as_other(users: Users) -> Client:
    """A client signed in as the other user."""
    client = Client()
    client.force_login(users.other)
    return client


@pytest.fixture
def as_administrator(users: Users) -> Client:
    """A client signed in as the administrator."""
    client = Client()
    client.force_login(users.administrator)
    return client


@pytest.fixture
def make_upstream() -> Iterator[Callable[..., Upstream]]:
    """Starts scriptable OpenAI-compatible servers (`tests.upstream`), as many as a test wants; `tls=True` for a bad certificate."""
    started: list[Upstream] = []

    def make(**options: bool) -> Upstream:
        started.append(Upstream(**options))
        return started[-1]

    yield make
    for server in started:
        server.stop(wait=False)


@pytest.fixture
async def up(upstream: Upstream, transactional_db: None) -> AsyncIterator[Upstream]:
    """The same server as the backend `up`."""
    await in_database(add_backend, name="up", base_url=upstream.base_url)
    yield upstream
    await registry.aclose()


@pytest.fixture
def upstream(make_upstream: Callable[..., Upstream]) -> Upstream:
    """One scriptable OpenAI-compatible server."""
    return make_upstream()
