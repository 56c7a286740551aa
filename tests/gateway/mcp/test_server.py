"""Patchbay as an MCP server: the SDK's own client talks to it in process, over streamable HTTP."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from asgiref.sync import sync_to_async
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client

from chat.models import Prompt
from search.models import Collection, Document
from tests.gateway.api import Api
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.asgi import application
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.gateway.mcp import asgi
from webapp.gateway.mcp.server import VERSION

URL = "http://testserver/mcp"
PING = {"jsonrpc": "2.0", "id": 1, "method": "ping"}


@pytest.fixture(autouse=True)
async def _ended() -> AsyncIterator[None]:
    async with asgi.service():
        yield


@asynccontextmanager
async def connected(api: Api, mode: str = "auto") -> AsyncIterator[Client]:
    transport = httpx2.ASGITransport(application, raise_app_exceptions=True)
    headers = {"authorization": f"Bearer {api.token}"}
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=20) as http,
        Client(streamable_http_client(URL, http_client=http), mode=mode) as client,
    ):
        yield client


async def called(client: Client, name: str, **arguments: object) -> object:
    result = await client.call_tool(name, arguments)
    assert not result.is_error, result.content
    return json.loads(result.content[0].text)  # type: ignore[union-attr]  # every result here is text


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic eDp5"}])
async def test_without_a_good_token_the_answer_is_401_with_a_challenge(api: Api, headers: dict[str, str]) -> None:
    api.http.headers.pop("authorization")
    for method in ("POST", "GET", "DELETE"):
        answer = await api.http.request(method, URL, json=PING, headers=headers)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_foreign_hosts_and_origins_are_refused(api: Api) -> None:
    assert (await api.http.post(URL, json=PING, headers={"host": "evil.example"})).status_code == 421
    assert (await api.http.post(URL, json=PING, headers={"origin": "http://evil.example"})).status_code == 403
    accepted = {"accept": "application/json, text/event-stream", "origin": "http://testserver"}
    assert (await api.http.post(URL, json=PING, headers=accepted)).status_code == 200


async def test_there_are_no_streams_to_open_and_no_paths_below(api: Api) -> None:
    answer = await api.http.get(URL)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST, OPTIONS")
    assert (await api.http.post(f"{URL}/x", json=PING)).status_code == 404
    assert (await api.http.options(URL)).status_code == 204


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_both_generations_of_the_protocol_are_spoken(api: Api, mode: str) -> None:
    async with connected(api, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert client.server_info is not None
        assert (client.server_info.name, client.server_info.version) == ("patchbay", VERSION)
    assert {"search_documents", "ask", "list_models", "list_batches", "get_batch", "create_batch", "usage"} == set(tools)
    read_only = {name for name, tool in tools.items() if tool.annotations and tool.annotations.read_only_hint}
    assert set(tools) - read_only == {"ask", "create_batch"}
    assert tools["ask"].input_schema["required"] == ["model", "prompt"]


async def test_a_question_goes_through_a_route_and_counts_as_the_callers(api: Api, upstream: Upstream) -> None:
    upstream.script(says("42"))
    await api.serve(upstream)
    async with connected(api) as client:
        found = await called(client, "ask", model="m", prompt="What is 6*7?")
    assert found["answer"] == "42"  # type: ignore[index]  # an object
    await registry.flush()
    attempt = await Attempt.objects.aget()
    assert (attempt.user_id, attempt.endpoint, attempt.source) == (api.users.owner.pk, "mcp", "gateway")


async def test_an_unknown_model_is_said_to_the_model(api: Api) -> None:
    async with connected(api) as client:
        result = await client.call_tool("ask", {"model": "nowhere", "prompt": "x"})
        assert result.is_error
        assert "nowhere" in result.content[0].text  # type: ignore[union-attr]  # every result here is text
        wrong = await client.call_tool("ask", {"prompt": "x"})
        assert wrong.is_error
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("nothing", {})


async def test_the_limits_of_the_token_hold(api: Api, upstream: Upstream) -> None:
    await api.use_token(api.users.owner, requests_per_minute=1)
    await api.serve(upstream)
    async with connected(api) as client:
        assert not (await client.call_tool("ask", {"model": "m", "prompt": "x"})).is_error
        assert (await client.call_tool("ask", {"model": "m", "prompt": "x"})).is_error


async def test_a_token_sees_the_tools_of_its_scopes_alone(api: Api) -> None:
    await api.use_token(api.users.owner, scopes=["models"])
    async with connected(api) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == ["list_models", "usage"]
        refused = await client.call_tool("create_batch", {"model": "m", "prompts": ["x"]})
        assert refused.is_error
        with pytest.raises(MCPError, match="'search'"):
            await client.read_resource("patchbay://documents/1")


async def test_a_batch_is_created_and_listed(api: Api) -> None:
    async with connected(api) as client:
        made = await called(client, "create_batch", model="m", prompts=["1+1", "2+2"])
        listed = await called(client, "list_batches")
        found = await called(client, "get_batch", batch_id=made["id"])  # type: ignore[index]  # an object
        missing = await client.call_tool("get_batch", {"batch_id": "batch_0"})
    assert [each["id"] for each in listed["data"]] == [made["id"]]  # type: ignore[index]  # objects
    assert found["endpoint"] == "/v1/chat/completions"  # type: ignore[index]  # an object
    assert missing.is_error


async def test_documents_are_resources_of_those_who_may_read_them(api: Api, users: Users) -> None:
    await sync_to_async(_add_documents)(users)
    async with connected(api) as client:
        listed = (await client.list_resources()).resources
        assert [each.name for each in listed] == ["mine.txt"]
        read = await client.read_resource(str(listed[0].uri))
        assert read.contents[0].text == "My text"  # type: ignore[union-attr]  # documents are text
        foreign = await Document.objects.aget(name="theirs.txt")
        for uri in (f"patchbay://documents/{foreign.pk}", "patchbay://documents/1", "file:///etc/passwd"):
            with pytest.raises(MCPError, match="not found"):
                await client.read_resource(uri)
        with pytest.raises(MCPError, match="cursor"):
            await client.list_resources(cursor="x")


def _add_documents(users: Users) -> None:
    for user, name, text in ((users.owner, "mine.txt", "My text"), (users.other, "theirs.txt", "Their text")):
        collection = Collection.objects.create(owner=user, name="notes")
        Document.objects.create(collection=collection, name=name, text=text, state=Document.State.READY, digest="x")


async def test_the_prompt_library_is_offered_as_prompts(api: Api, users: Users) -> None:
    await Prompt.objects.acreate(user=users.owner, name="greet", text="Greet {{name}} in {{language}}.")
    await Prompt.objects.acreate(user=users.other, name="greet", text="Shared", shared=True)
    await Prompt.objects.acreate(user=users.other, name="private", text="Not yours")
    async with connected(api) as client:
        prompts = (await client.list_prompts()).prompts
        assert [(each.name, [argument.name for argument in each.arguments or ()]) for each in prompts] == [("greet", ["name", "language"])]
        filled = await client.get_prompt("greet", {"name": "Ada", "language": "French"})
        assert filled.messages[0].content.text == "Greet Ada in French."  # type: ignore[union-attr]  # prompts are text
        with pytest.raises(MCPError, match="language"):
            await client.get_prompt("greet", {"name": "Ada"})
        with pytest.raises(MCPError, match="private"):
            await client.get_prompt("private")


async def test_usage_is_ones_own(api: Api) -> None:
    async with connected(api) as client:
        found = await called(client, "usage", period="24h")
        wrong = await client.call_tool("usage", {"period": "century"})
    assert found["requests"] == 0  # type: ignore[index]  # an object
    assert wrong.is_error
