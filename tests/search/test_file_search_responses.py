"""`file_search` in `/v1/responses`: a scripted model searches real stores, and its answer cites their files."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from asgiref.sync import sync_to_async

from tests.gateway.api import Api
from tests.search.stores import client_of, filled
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.backends.services import create_token

QUESTION = says(tool_calls=[("file_search", '{"queries": ["what do cats eat?"]}')])
ANSWER = "Cats eat fish and mice【1】."


@pytest.fixture
async def model(api: Api, upstream: Upstream) -> Upstream:
    """A model that searches once and then answers with a citation."""
    await api.serve(upstream)
    upstream.script(QUESTION, says(ANSWER))
    return upstream


def tool_results(upstream: Upstream) -> list[dict[str, Any]]:
    """The results as the model got them."""
    return list(json.loads(upstream.requests[-1].body["messages"][-1]["content"])["results"])


async def test_the_answer_cites_the_file(client: openai.AsyncOpenAI, model: Upstream) -> None:
    store, cats, _ = await filled(client)
    tool: Any = {"type": "file_search", "vector_store_ids": [store.id], "max_num_results": 3}
    response = await client.responses.create(model="m", input="What do cats eat?", tools=[tool], include=["file_search_call.results"])
    search, message = response.output
    assert search.type == "file_search_call"
    assert (search.status, search.queries) == ("completed", ["what do cats eat?"])
    assert search.results is not None
    assert search.results[0].file_id == cats
    assert search.results[0].attributes == {"topic": "animals", "year": 2024}
    assert response.output_text == "Cats eat fish and mice."
    assert message.type == "message"
    [part] = message.content
    assert part.type == "output_text"
    [citation] = part.annotations
    assert citation.type == "file_citation"
    assert (citation.file_id, citation.filename, citation.index) == (cats, "cats.md", len("Cats eat fish and mice"))
    assert tool_results(model)[0]["file_id"] == cats


async def test_the_tools_filters_and_threshold_hold(client: openai.AsyncOpenAI, model: Upstream) -> None:
    store, cats, _ = await filled(client)
    filters = {"type": "ne", "key": "topic", "value": "machines"}
    tool: Any = {"type": "file_search", "vector_store_ids": [store.id], "filters": filters}
    await client.responses.create(model="m", input="?", tools=[tool])
    assert {result["file_id"] for result in tool_results(model)} == {cats}
    model.script(QUESTION, says("Nothing."))
    tool["filters"]["type"] = "eq"
    await client.responses.create(model="m", input="?", tools=[tool])
    assert tool_results(model) == []
    model.script(QUESTION, says("Nothing."))
    del tool["filters"]
    tool["ranking_options"] = {"score_threshold": 1}
    await client.responses.create(model="m", input="?", tools=[tool])
    assert tool_results(model) == []


async def test_a_stream_tells_of_the_search_before_and_after_it(client: openai.AsyncOpenAI, model: Upstream) -> None:
    store, cats, _ = await filled(client)
    tool: Any = {"type": "file_search", "vector_store_ids": [store.id]}
    kinds, annotations = [], []
    async with client.responses.stream(model="m", input="What do cats eat?", tools=[tool]) as stream:
        async for event in stream:
            kinds.append(event.type)
            if event.type == "response.output_text.annotation.added":
                annotations.append(event.annotation)
    wanted = [f"response.file_search_call.{each}" for each in ("in_progress", "searching", "completed")]
    assert [kind for kind in kinds if "file_search" in kind] == wanted
    [citation] = annotations
    assert getattr(citation, "file_id", "") == cats


async def test_a_wrong_filter_is_refused_before_the_model_is_asked(client: openai.AsyncOpenAI, model: Upstream) -> None:
    tool: Any = {"type": "file_search", "vector_store_ids": ["vs_1"], "filters": {"type": "near", "key": "a", "value": 1}}
    with pytest.raises(openai.BadRequestError, match="near"):
        await client.responses.create(model="m", input="?", tools=[tool])
    assert not model.requests


async def test_a_token_without_the_scope_cannot_search(users: Users, api: Api, model: Upstream) -> None:
    chat_only = client_of(api, (await sync_to_async(create_token)(user=users.owner, label="x", scopes=["chat"]))[1])
    tool: Any = {"type": "file_search", "vector_store_ids": ["vs_1"]}
    with pytest.raises(openai.PermissionDeniedError, match="'search'"):
        await chat_only.responses.create(model="m", input="?", tools=[tool])


async def test_a_store_of_another_user_is_not_searched(users: Users, api: Api, client: openai.AsyncOpenAI, model: Upstream) -> None:
    """FAULTS 63."""
    store, _, _ = await filled(client)
    stranger = client_of(api, (await sync_to_async(create_token)(user=users.other, label="x"))[1])
    tool: Any = {"type": "file_search", "vector_store_ids": [store.id]}
    response = await stranger.responses.create(model="m", input="?", tools=[tool])
    assert response.output[0].status == "failed"  # type: ignore[union-attr]
    assert "no vector store" in model.requests[-1].body["messages"][-1]["content"]
