"""A collection of the owner, embedded by the built-in model through the seeded `embed` route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import openai
import pytest
from django.db import connection

from search import embedder, ingestion, services
from search.models import Collection, Document
from tests.gateway.api import Api
from tests.users import Users
from webapp.backends.models import RouteStep
from webapp.backends.runtime import registry
from webapp.backends.services import seeding
from webapp.builtin import MINILM
from webapp.gateway import auth

Ingest = Callable[..., Document]

embedded_only = pytest.mark.skipif(connection.vendor != "sqlite", reason="of the embedded engine's files")

CATS = "# Cats\n\nA cat sleeps most of the day. Kittens play with wool.\n\n## Food\n\nCats eat fish and mice.\n"
ENGINES = "# Engines\n\nA diesel engine burns fuel under high pressure.\n\n## Oil\n\nChange the oil of the motor every year.\n"


@pytest.fixture(autouse=True)
def state_folder(settings: object, tmp_path: Path) -> None:
    """Files and vectors of each test in a folder of its own."""
    settings.PATCHBAY_HOME = tmp_path  # type: ignore[attr-defined]  # pytest-django's settings take any name
    settings.MEDIA_ROOT = tmp_path / "files"  # type: ignore[attr-defined]
    embedder.forget_queries()


@pytest.fixture
def users(transactional_db: None) -> Users:
    """The usual users, in a database that other threads see too."""
    from tests.users import make_users

    seeding.seed()
    RouteStep.objects.filter(route__name=seeding.EMBED_ROUTE).update(model=MINILM.name)  # loads faster, and English suffices
    return make_users()


@pytest.fixture
def collection(users: Users) -> Collection:
    return services.create_collection(owner=users.owner, name="Library")


def run_ingestion(document: Document) -> Document:
    """Bring a document to its end, as the worker does."""
    claimed = ingestion.claim_one(document)
    assert claimed

    async def run(claimed: Document) -> None:
        try:
            await ingestion.ingest(claimed)
        finally:
            await registry.aclose()

    asyncio.run(run(claimed))
    document.refresh_from_db()
    return document


@pytest.fixture
def ingest(collection: Collection) -> Ingest:
    """Add a file to the collection and bring it to its end."""

    def add(name: str, content: bytes | str, into: Collection | None = None) -> Document:
        raw = content.encode() if isinstance(content, str) else content
        return run_ingestion(services.add_file(collection=into or collection, name=name, content=[raw]).document)

    return add


@pytest.fixture
async def api(users: Users) -> AsyncIterator[Api]:
    """The API with a token of the owner."""
    auth.tokens.forget()
    api = Api(users)
    await api.use_token(users.owner)
    yield api
    await api.aclose()
    await registry.aclose()


@pytest.fixture
def client(api: Api) -> openai.AsyncOpenAI:
    return api.sdk()
