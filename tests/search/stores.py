"""Vector stores of a test: the official client in process, uploads, and the work of the ingestion workers."""

from __future__ import annotations

import openai
from asgiref.sync import sync_to_async
from openai.types import VectorStore

from search import ingestion
from tests.gateway.api import Api
from tests.search.conftest import CATS, ENGINES


def client_of(api: Api, token: str) -> openai.AsyncOpenAI:
    return api.sdk().with_options(api_key=token, default_headers={"authorization": f"Bearer {token}"})


async def upload(client: openai.AsyncOpenAI, name: str, content: str | bytes) -> str:
    raw = content.encode() if isinstance(content, str) else content
    return (await client.files.create(file=(name, raw), purpose="assistants")).id


async def ingest_all() -> None:
    """Do the work of the ingestion workers until there is none."""
    while (document := await sync_to_async(ingestion.claim)()) is not None:
        await ingestion.ingest(document)


async def filled(client: openai.AsyncOpenAI) -> tuple[VectorStore, str, str]:
    """A store with two files: about cats, and about engines."""
    store = await client.vector_stores.create(name="Handbook")
    cats, engines = await upload(client, "cats.md", CATS), await upload(client, "engines.md", ENGINES)
    await client.vector_stores.files.create(store.id, file_id=cats, attributes={"topic": "animals", "year": 2024})
    await client.vector_stores.files.create(store.id, file_id=engines, attributes={"topic": "machines", "year": 2026, "old": True})
    await ingest_all()
    return store, cats, engines
