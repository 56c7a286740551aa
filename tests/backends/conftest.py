"""Shared fixtures of the backend tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio
from channels.db import database_sync_to_async

from webapp.backends import services
from webapp.backends.runtime import registry


@pytest_asyncio.fixture
async def closing(transactional_db: None) -> AsyncIterator[None]:
    """A database that threads share, and all connections closed at the end."""
    yield
    await registry.aclose()


async def add(name: str, base_url: str, *models: str, **options: Any) -> int:
    """A backend with these models; its id."""

    def create() -> int:
        backend = services.add_backend(name=name, base_url=base_url, **options)
        for model in models:
            services.add_model(backend=backend, name=model)
        return backend.pk

    pk: int = await database_sync_to_async(create)()
    return pk


async def route(name: str, *steps: str, **options: Any) -> None:
    """A route of `backend/model` steps."""
    from webapp.backends.models import Backend

    def create() -> None:
        pairs = [(Backend.objects.get(name=step.partition("/")[0]), step.partition("/")[2]) for step in steps]
        services.set_route(name=name, steps=pairs, **options)

    await database_sync_to_async(create)()
