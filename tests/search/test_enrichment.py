"""Summaries and tags of documents, by a language model over real HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from django.test import Client

from search import enrichment, services
from search.models import Collection, Document
from tests.search.conftest import CATS, ENGINES, Ingest
from tests.upstream import Upstream, closed_port, says
from tests.users import Users
from webapp.backends.models import Attempt, Backend, BackendModel
from webapp.backends.runtime import registry
from webapp.backends.services.configuration import add_backend

State = Document.State
SAID = {"summary": "About cats, and <b>wool</b>.", "tags": ["Pets", " cats ", "", "pets"], "confidence": 0.85}


@pytest.fixture
def upstream(users: Users, make_upstream: Callable[..., Upstream]) -> Upstream:
    """A server with the chat model `llm`, as the backend `up`."""
    server = make_upstream()
    backend = add_backend(name="up", base_url=server.base_url)
    Backend.objects.filter(pk=backend.pk).update(enabled=True)
    BackendModel.objects.create(backend=backend, name="llm", capabilities={"chat": True, "embeddings": False})
    return server


@pytest.fixture
def collection(users: Users, upstream: Upstream) -> Collection:
    """Embedded by the built-in model, described by `up/llm`."""
    made = services.create_collection(owner=users.owner, name="Library")
    services.change_collection(collection=made, name="Library", description="", groups=[], describe_with="up/llm")
    return made


def describe(document: Document) -> Document:
    """Have it described as the worker does."""
    claimed = enrichment.claim()
    assert claimed == document

    async def run() -> None:
        try:
            await enrichment.describe(claimed)
        finally:
            await registry.aclose()

    asyncio.run(run())
    document.refresh_from_db()
    return document


def test_a_document_is_described_once_it_is_ready(ingest: Ingest, upstream: Upstream, users: Users) -> None:
    document = ingest("cats.md", CATS)
    assert (document.state, document.to_describe, document.summary) == (State.READY, True, "")
    upstream.script(says(json.dumps(SAID)))
    described = describe(document)
    assert (described.state, described.to_describe, described.why) == (State.READY, None, "")
    assert (described.summary, described.tags, described.confidence) == (SAID["summary"], ["cats", "pets"], 0.85)
    asked = upstream.requests[-1].body
    assert CATS in asked["messages"][0]["content"]
    assert asked["response_format"]["type"] == "json_schema"
    assert Attempt.objects.get(model="llm").user == users.owner
    assert enrichment.claim() is None


def test_an_answer_that_is_not_valid_is_asked_for_again(ingest: Ingest, upstream: Upstream) -> None:
    document = ingest("cats.md", CATS)
    upstream.script(says('{"summary": "x", "tags": "none"'), says(json.dumps(SAID | {"confidence": 7})), says(json.dumps(SAID)))
    assert describe(document).summary == SAID["summary"]
    assert "confidence" in upstream.requests[-1].body["messages"][-1]["content"]


def test_a_model_that_never_answers_as_asked_is_named(ingest: Ingest, upstream: Upstream) -> None:
    upstream.default = says("I would rather not.")
    described = describe(ingest("cats.md", CATS))
    assert (described.state, described.summary) == (State.READY, "")
    assert described.why.startswith("No summary: No valid answer in 3 tries:")


def test_with_its_model_away_a_document_stays_ready_and_says_so(as_owner: Client, ingest: Ingest, upstream: Upstream) -> None:
    """FAULTS 46, for summaries: and one can be asked for later."""
    Backend.objects.filter(name="up").update(base_url=f"http://127.0.0.1:{closed_port()}/v1")
    document = describe(ingest("cats.md", CATS))
    assert (document.state, document.to_describe) == (State.READY, None)
    assert document.why.startswith("No summary: ")
    page = as_owner.get(f"/search/documents/{document.pk}/").content.decode()
    assert "No summary: " in page
    assert "cats.md" in as_owner.get("/search/", {"q": "kittens"}).content.decode()
    Backend.objects.filter(name="up").update(base_url=upstream.base_url)
    as_owner.post(f"/search/documents/{document.pk}/change/", {"do": "describe"})
    assert "Patchbay is writing a summary" in as_owner.get(f"/search/documents/{document.pk}/").content.decode()
    upstream.script(says(json.dumps(SAID)))
    assert describe(document).why == ""


def test_summary_and_tags_are_on_the_page_escaped_and_the_tag_is_a_filter(as_owner: Client, ingest: Ingest, upstream: Upstream) -> None:
    """FAULTS 5."""
    document = ingest("cats.md", CATS)
    upstream.script(says(json.dumps(SAID)))
    describe(document)
    ingest("engines.md", ENGINES)
    page = as_owner.get(f"/search/documents/{document.pk}/").content.decode()
    assert "About cats, and &lt;b&gt;wool&lt;/b&gt;." in page
    assert "85 % confident" in page
    assert f"/search/?collection={document.collection_id}&amp;tag=pets" in page
    facets = as_owner.get("/search/", {"q": "cats"}).content.decode()
    assert "tag=pets" in facets
    found = as_owner.get("/search/", {"q": "day year", "tag": "pets"}).content.decode()
    assert "cats.md" in found
    assert "engines.md" not in found


def test_documents_that_were_there_before_are_described_when_their_owner_says_so(as_owner: Client, ingest: Ingest, users: Users) -> None:
    other = services.create_collection(owner=users.owner, name="Other")
    document = ingest("cats.md", CATS, other)
    assert document.to_describe is None
    as_owner.post(f"/search/collections/{other.pk}/", {"name": "Other", "describe_with": "up/llm", "describe_existing": "on"})
    assert enrichment.claim() == document


def test_without_a_model_nothing_is_described(ingest: Ingest, collection: Collection, as_owner: Client) -> None:
    Collection.objects.update(describe_with="")
    document = ingest("cats.md", CATS)
    as_owner.post(f"/search/documents/{document.pk}/change/", {"do": "describe"})
    assert enrichment.claim() is None


def test_a_document_that_is_left_half_way_is_described_by_who_comes_next(ingest: Ingest, upstream: Upstream) -> None:
    document = ingest("cats.md", CATS)
    upstream.script(says(json.dumps(SAID), first=30))
    claimed = enrichment.claim()
    assert claimed == document

    async def run() -> None:
        task = asyncio.create_task(enrichment.describe(claimed))
        await asyncio.to_thread(upstream.wait_for, len(upstream.requests) + 1)
        assert await asyncio.to_thread(enrichment.claim) is None
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await registry.aclose()

    asyncio.run(run())
    upstream.script(says(json.dumps(SAID)))
    assert describe(document).summary == SAID["summary"]
