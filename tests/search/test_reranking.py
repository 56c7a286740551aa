"""The best passages of a search, put into order by a model over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from django.test import Client

from search import services
from search.models import Collection
from search.ranking import query
from search.ranking.query import Results
from search.ranking.reranking import read_order
from tests.search.conftest import Ingest
from tests.upstream import Upstream, closed_port, says, status
from tests.users import Users
from webapp.accounts.models import User
from webapp.backends.models import Attempt, Backend, BackendModel
from webapp.backends.runtime import registry
from webapp.backends.services.configuration import add_backend, set_route
from webapp.patterns.errors import BadAnswer

NAMES = ("one.txt", "two.txt", "three.txt")
RERANKER, WRITER = "up/jina-reranker", "up/llm"


@pytest.fixture
def upstream(users: Users, make_upstream: Callable[..., Upstream]) -> Upstream:
    """A server with a reranker and a language model, as the backend `up`."""
    server = make_upstream()
    backend = add_backend(name="up", base_url=server.base_url)
    Backend.objects.filter(pk=backend.pk).update(enabled=True)
    BackendModel.objects.create(backend=backend, name="jina-reranker", capabilities={"chat": False, "embeddings": False})
    BackendModel.objects.create(backend=backend, name="llm", capabilities={"chat": True, "embeddings": False})
    return server


@pytest.fixture
def documents(ingest: Ingest, upstream: Upstream) -> None:
    """Three documents about the same."""
    for name in NAMES:
        ingest(name, f"Kittens play with wool, says {name.removesuffix('.txt')}.")


def rerank_by(collection: Collection, model: str) -> None:
    Collection.objects.filter(pk=collection.pk).update(rerank_with=model)


def search(user: User, **options: Any) -> Results:
    async def run() -> Results:
        try:
            return await query.search(user, "kittens wool ", **{"rerank": True, **options})
        finally:
            await registry.flush()
            await registry.aclose()

    return asyncio.run(run())


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def found(results: Results) -> list[str]:
    return [result.chunk.document.name for result in results.found]


def scored(*scores: float) -> dict[str, Any]:
    """The answer of a reranker."""
    rows = [{"index": number, "relevance_score": score} for number, score in enumerate(scores)]
    return {"results": rows, "usage": {"total_tokens": 12}}


@pytest.mark.usefixtures("documents")
def test_a_reranker_puts_the_passages_into_order(users: Users, collection: Collection, upstream: Upstream) -> None:
    before = search(users.owner)
    rerank_by(collection, RERANKER)
    upstream.paths["/v1/rerank"] = status(200, scored(0.1, 0.2, 0.9))
    after = search(users.owner)
    assert found(after) == found(before)[::-1]
    assert [result.score for result in after.found] == [result.score for result in before.found]
    asked = upstream.requests[-1].body
    assert (asked["model"], asked["query"], len(asked["documents"])) == ("jina-reranker", "kittens wool ", 3)
    assert [(call.model, call.why) for call in after.reranked] == [(RERANKER, "")]
    attempt = Attempt.objects.get(endpoint="rerank")
    assert (attempt.user, attempt.source, attempt.prompt_tokens) == (users.owner, "search", 12)


@pytest.mark.usefixtures("documents")
def test_a_language_model_names_the_passages_that_help(users: Users, collection: Collection, upstream: Upstream) -> None:
    before = search(users.owner)
    rerank_by(collection, WRITER)
    upstream.script(says(json.dumps({"passages": [3, 3, 99, -1]})))
    after = search(users.owner)
    assert found(after) == [found(before)[number] for number in (2, 0, 1)]
    assert upstream.requests[-1].body["response_format"]["type"] == "json_schema"
    assert Attempt.objects.get(model="llm").endpoint == "chat/completions"


@pytest.mark.usefixtures("documents")
@pytest.mark.parametrize("answer", [status(500), status(200, {"results": []}), status(200, {"results": [{"index": "x"}]})])
def test_the_order_stays_if_the_model_fails(users: Users, collection: Collection, upstream: Upstream, answer: Any) -> None:
    before = search(users.owner)
    rerank_by(collection, RERANKER)
    upstream.paths["/v1/rerank"] = answer
    after = search(users.owner)
    assert found(after) == found(before)
    assert [bool(call.why) for call in after.reranked] == [True]


@pytest.mark.usefixtures("documents")
def test_a_model_that_is_gone_is_named_on_the_page(users: Users, collection: Collection) -> None:
    rerank_by(collection, "gone/reranker")
    client = signed_in(users.owner)
    page = client.get("/search/", {"q": "kittens wool", "rerank": "1"}).content.decode()
    assert "Not reranked by gone/reranker" in page
    assert "three.txt" in page


@pytest.mark.usefixtures("documents")
def test_the_page_reranks_only_on_enter(users: Users, collection: Collection, upstream: Upstream) -> None:
    BackendModel.objects.filter(name="jina-reranker").update(input_price=1000)
    rerank_by(collection, RERANKER)
    upstream.paths["/v1/rerank"] = status(200, scored(0.1, 0.2, 0.9))
    client = signed_in(users.owner)
    typed = client.get("/search/", {"q": "kittens wool"}).content.decode()
    assert "Reranked" not in typed
    assert upstream.requests == []
    assert 'name="rerank" value="1"' in typed
    entered = client.get("/search/", {"q": "kittens wool", "rerank": "1"}).content.decode()
    assert "Reranked by up/jina-reranker" in entered
    assert "$0.01200" in entered
    assert client.get("/search/", {"q": "kittens wool", "rerank": "1", "mode": "keyword"}).status_code == 200
    assert len(upstream.requests) == 1


@pytest.mark.usefixtures("documents")
def test_a_collection_without_a_model_keeps_its_places(users: Users, collection: Collection, ingest: Ingest, upstream: Upstream) -> None:
    other = services.create_collection(owner=users.owner, name="Other")
    ingest("four.txt", "Kittens play with wool, says four.", into=other)
    before = found(search(users.owner))
    rerank_by(collection, RERANKER)
    upstream.paths["/v1/rerank"] = status(200, scored(0.1, 0.2, 0.9))
    after = found(search(users.owner))
    assert after.index("four.txt") == before.index("four.txt")
    assert [name for name in after if name != "four.txt"] == [name for name in before if name != "four.txt"][::-1]


@pytest.mark.usefixtures("documents")
def test_a_route_of_rerankers_falls_back(users: Users, collection: Collection, upstream: Upstream) -> None:
    dead = add_backend(name="dead", base_url=f"http://127.0.0.1:{closed_port()}/v1")
    Backend.objects.filter(pk=dead.pk).update(enabled=True)
    set_route(name="order", steps=[(dead, "reranker-large"), (Backend.objects.get(name="up"), "jina-reranker")])
    rerank_by(collection, "order")
    upstream.paths["/v1/rerank"] = status(200, scored(0.1, 0.2, 0.9))
    [call] = search(users.owner).reranked
    assert (call.why, call.trail.served_by.backend if call.trail.served_by else "") == ("", "up")


async def test_the_api_reranks_unless_told_otherwise(
    users: Users, collection: Collection, documents: None, upstream: Upstream, api: Any
) -> None:
    await Collection.objects.filter(pk=collection.pk).aupdate(rerank_with=RERANKER)
    upstream.paths["/v1/rerank"] = status(200, scored(0.1, 0.2, 0.9))
    client: openai.AsyncOpenAI = api.sdk()
    store = f"vs_{collection.pk}"
    plain = await client.vector_stores.search(store, query="kittens wool", ranking_options={"ranker": "none"})
    reranked = await client.vector_stores.search(store, query="kittens wool")
    assert [row.filename for row in reranked.data] == [row.filename for row in plain.data][::-1]


def test_the_answers_of_rerankers_are_read() -> None:
    assert read_order({"data": [{"index": 0, "relevance_score": 0.2}, {"index": 1, "score": 0.7}]}) == [1, 0]
    assert read_order({"results": [{"index": 2, "relevance_score": 1}, {"index": 0, "relevance_score": 2}, "x"]}) == [0, 2]
    with pytest.raises(BadAnswer):
        read_order({"results": [{"index": 0}]})


def test_the_settings_offer_rerankers_first(users: Users, collection: Collection, upstream: Upstream) -> None:
    client = signed_in(users.owner)
    address = f"/search/collections/{collection.pk}/"
    page = client.get(address).content.decode()
    assert page.index(f'value="{RERANKER}"') < page.index(f'value="{WRITER}"', page.index(f'value="{RERANKER}"'))
    client.post(address, {"name": collection.name, "rerank_with": RERANKER})
    collection.refresh_from_db()
    assert collection.rerank_with == RERANKER
