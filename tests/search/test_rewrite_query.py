"""`rewrite_query` of `/v1/vector_stores/{id}/search`, by OpenAI's client."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from search.models import Collection
from tests.search.conftest import CATS, Ingest
from tests.search.test_reranking import RERANKER, WRITER, upstream
from tests.upstream import Upstream, says, status
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry

__all__ = ["upstream"]
ASKED = "Hello! Could you please tell me what kittens play with?"
WRITTEN = "kittens play with"


@pytest.fixture
def store(collection: Collection, upstream: Upstream, ingest: Ingest) -> Collection:
    ingest("cats.md", CATS)
    return collection


async def search(client: openai.AsyncOpenAI, store: Collection, **options: Any) -> Any:
    return await client.vector_stores.search(f"vs_{store.pk}", query=ASKED, rewrite_query=True, **options)


async def use(store: Collection, **models: str) -> None:
    await Collection.objects.filter(pk=store.pk).aupdate(**models)


@pytest.mark.parametrize("models", [{"describe_with": WRITER}, {"describe_with": WRITER, "rerank_with": RERANKER}])
async def test_the_collections_language_model_rewrites_the_query(
    client: openai.AsyncOpenAI, store: Collection, upstream: Upstream, models: dict[str, str]
) -> None:
    await use(store, **models)
    upstream.script(says(json.dumps({"queries": [f"  {WRITTEN}\n"]})))
    upstream.paths["/v1/rerank"] = status(500)
    page = await search(client, store)
    assert page.search_query == [WRITTEN]
    assert [row.filename for row in page.data][:1] == ["cats.md"]
    assert ASKED in upstream.requests[0].body["messages"][1]["content"]
    await registry.flush()
    assert await Attempt.objects.filter(model="llm", source="search", outcome="ok").acount() == 1


async def test_without_a_language_model_the_query_stays(client: openai.AsyncOpenAI, store: Collection, upstream: Upstream) -> None:
    page = await search(client, store)
    assert page.search_query == [ASKED]
    assert upstream.requests == []


@pytest.mark.parametrize("answer", [status(500), says('{"queries": []}'), says('{"queries": [" "]}'), says("I cannot")])
async def test_if_the_model_fails_the_query_stays(client: openai.AsyncOpenAI, store: Collection, upstream: Upstream, answer: Any) -> None:
    await use(store, describe_with=WRITER)
    upstream.default = answer
    page = await search(client, store)
    assert page.search_query == [ASKED]
    assert page.data


async def test_a_query_is_rewritten_only_on_request(client: openai.AsyncOpenAI, store: Collection, upstream: Upstream) -> None:
    await use(store, describe_with=WRITER)
    page: Any = await client.vector_stores.search(f"vs_{store.pk}", query=ASKED)
    assert (page.search_query, upstream.requests) == ([ASKED], [])
