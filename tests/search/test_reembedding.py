"""A store that is embedded again under load: searches with filters are answered from one index, and files come and go meanwhile."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from asgiref.sync import sync_to_async

from search import services
from search.index import embed_index, engine, rebuild
from search.models import Chunk, Collection
from tests.search.stores import ingest_all, upload
from tests.upstream import Received, Upstream, Wire, embeds
from webapp.backends.services import add_backend

ORM = sync_to_async
FILES, SEARCHERS = 24, 6


@pytest.fixture
async def store_id(client: openai.AsyncOpenAI, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> str:
    """A store of short files, each with its parity as an attribute, embedded by `small`; `other` has another dimension."""
    by_model = {"small": embeds(8), "other": embeds(32)}

    async def reply(received: Received, wire: Wire) -> None:
        await by_model[received.body["model"]](received, wire)

    upstream.embeds = reply
    monkeypatch.setattr(embed_index, "BATCH", 2)
    await ORM(add_backend)(name="up", base_url=upstream.base_url)
    store = await client.vector_stores.create(name="Many", extra_body={"embedding_model": "up/small"})
    files: Any = [
        {"file_id": await upload(client, f"{number}.md", f"# File {number}\n\nWords of file {number}."), "attributes": {"odd": number % 2}}
        for number in range(FILES)
    ]
    await client.vector_stores.file_batches.create(store.id, files=files)
    await ingest_all()
    return store.id


async def test_searches_with_filters_are_answered_while_the_index_is_built(client: openai.AsyncOpenAI, store_id: str) -> None:
    """FAULTS 47."""
    collection = await Collection.objects.aget()
    old = collection.serving_id
    new = await ORM(services.change_model)(collection=collection, model="up/other")
    claimed = await ORM(rebuild.claim)()
    assert claimed == new
    building = asyncio.create_task(rebuild.build(claimed))
    counts = {"during": 0, "after": 0}

    async def search(number: int) -> None:
        odd: Any = {"type": "eq", "key": "odd", "value": number % 2}
        while not counts["after"]:
            over = building.done()
            found = await client.vector_stores.search(store_id, query=f"words of file {number}", filters=odd, max_num_results=50)
            assert {result.attributes["odd"] for result in found.data if result.attributes} == {number % 2}
            assert len(found.data) >= FILES // 2 - 1, "one file is deleted meanwhile"
            counts["after" if over else "during"] += 1

    async def change() -> None:
        first = (await client.vector_stores.files.list(store_id, order="asc", limit=1)).data[0]
        await client.vector_stores.files.delete(first.id, vector_store_id=store_id)
        late = await upload(client, "late.md", "# Late\n\nWords that came late.")
        await client.vector_stores.files.create(store_id, file_id=late, attributes={"odd": 1})
        await ingest_all()

    await asyncio.gather(*(search(number) for number in range(SEARCHERS)), change(), building)
    assert counts["during"] >= SEARCHERS
    await collection.arefresh_from_db()
    assert collection.serving_id == new.pk != old
    await new.arefresh_from_db()
    held = await ORM(engine().ids)(new)
    assert held == {pk async for pk in Chunk.objects.values_list("pk", flat=True)}
    late = await client.vector_stores.search(store_id, query="words that came late", filters={"type": "eq", "key": "odd", "value": 1})
    assert late.data[0].filename == "late.md"
