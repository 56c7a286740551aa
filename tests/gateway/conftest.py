"""The API as a client sees it: in process over ASGI, with real backends behind it over real HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from asgiref.sync import sync_to_async

from tests.gateway.api import Api
from tests.users import Users, make_users
from webapp.backends.runtime import registry
from webapp.backends.runtime.budgets import Spending
from webapp.gateway import auth


@pytest.fixture(autouse=True)
def _empty_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear the caches of the process: the tests use the same ids again."""
    auth.tokens.forget()
    monkeypatch.setattr(registry, "spending", Spending())


@pytest.fixture
async def users(transactional_db: None) -> Users:
    """The usual users, for tests that run on an event loop."""
    return await sync_to_async(make_users)()


@pytest.fixture
async def api(users: Users) -> AsyncIterator[Api]:
    """The API with the owner's token."""
    api = Api(users)
    await api.use_token(users.owner)
    yield api
    await api.aclose()
    await registry.aclose()
