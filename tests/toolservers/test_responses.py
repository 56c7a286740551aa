"""Tool servers in `/v1/responses`: by label, by address where that is allowed, with approval."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from tests.gateway.api import Api
from tests.tool_server import McpServer
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.gateway import auth
from webapp.toolservers import services
from webapp.toolservers.connections import sessions
from webapp.toolservers.models import ServerCall, ServerTool, ToolServer

pytestmark = pytest.mark.usefixtures("server")
ADD = says(tool_calls=[("trial__add", '{"a": 2, "b": 3}')])


@pytest.fixture
async def api(users: Users, upstream: Upstream) -> AsyncIterator[Api]:
    auth.tokens.forget()
    api = Api(users)
    await api.use_token(users.owner)
    await api.serve(upstream)
    yield api
    await api.aclose()
    await sessions.aclose()
    await registry.aclose()


async def asked(api: Api, upstream: Upstream, entry: dict[str, Any], *replies: Any, **fields: Any) -> Any:
    upstream.script(*replies, says("Done."))
    tool = {"type": "mcp", "server_label": "trial", "require_approval": "never", **entry}
    answer = await api.post("responses", {"model": "m", "input": "Go", "tools": [tool], **fields})
    assert answer.status_code == 200, answer.text
    return answer.json()


def kinds(response: Any) -> list[str]:
    return [item["type"] for item in response["output"]]


async def test_a_registered_server_is_used_by_its_label(api: Api, upstream: Upstream) -> None:
    response = await asked(api, upstream, {}, ADD)
    assert kinds(response) == ["mcp_list_tools", "mcp_call", "message"]
    listed, call, _ = response["output"]
    assert "add" in [tool["name"] for tool in listed["tools"]]
    assert (call["name"], call["output"], call["error"]) == ("add", "5", None)
    record = await ServerCall.objects.aget()
    assert (record.source, record.user_id) == ("responses", api.users.owner.pk)
    await registry.flush()
    assert {attempt.request_id async for attempt in Attempt.objects.all()} == {record.request_id}


async def test_the_calls_of_one_response_are_limited(api: Api, upstream: Upstream) -> None:
    await ToolServer.objects.aupdate(max_calls=1)
    calls = says(tool_calls=[("trial__add", '{"a": 1, "b": 1}'), ("trial__count", '{"steps": 1}')])
    response = await asked(api, upstream, {}, calls)
    first, second = (item for item in response["output"] if item["type"] == "mcp_call")
    assert first["output"] == "2"
    assert "1 times in one answer" in second["error"]["content"][0]["text"]


async def test_the_label_with_its_own_address_is_the_registered_server(api: Api, upstream: Upstream, remote: McpServer) -> None:
    remote.token = "stored"
    await sync_to_async(services.add_server)(name="trial", url=remote.url, headers={"Authorization": "Bearer stored"})
    response = await asked(api, upstream, {"server_url": remote.url}, ADD)
    assert response["output"][1]["output"] == "5"


async def test_calls_are_approved_unless_the_caller_says_never(api: Api, upstream: Upstream) -> None:
    response = await asked(api, upstream, {"require_approval": "always"}, ADD)
    assert kinds(response) == ["mcp_list_tools", "mcp_approval_request"]
    asking = response["output"][1]
    assert await ServerCall.objects.acount() == 0
    upstream.forget()
    yes = [{"type": "mcp_approval_response", "approval_request_id": asking["id"], "approve": True}]
    approved = await asked(api, upstream, {"require_approval": "always"}, input=yes, previous_response_id=response["id"])
    call = next(item for item in approved["output"] if item["type"] == "mcp_call")
    assert (call["output"], call["approval_request_id"]) == ("5", asking["id"])


NOTE = says(tool_calls=[("trial__note", '{"text": "x"}')])


@pytest.mark.parametrize(("approval", "asks"), [("", True), ("ask", True), ("always", False)])
async def test_the_administrators_setting_asks_even_where_the_request_says_never(
    api: Api, upstream: Upstream, approval: str, *, asks: bool
) -> None:
    await ServerTool.objects.filter(name="note").aupdate(approval=approval)
    response = await asked(api, upstream, {}, NOTE)
    assert kinds(response)[1] == ("mcp_approval_request" if asks else "mcp_call")
    assert await ServerCall.objects.acount() == (0 if asks else 1)


async def test_after_content_from_outside_an_allowed_action_asks_and_runs_once_approved(api: Api, upstream: Upstream) -> None:
    await ServerTool.objects.filter(name="note").aupdate(approval="always")
    response = await asked(api, upstream, {}, says(tool_calls=[("trial__inject", "{}")]), NOTE)
    assert kinds(response) == ["mcp_list_tools", "mcp_call", "mcp_approval_request"]
    asking = response["output"][-1]
    assert asking["reason"] == "untrusted"
    upstream.forget()
    yes = [{"type": "mcp_approval_response", "approval_request_id": asking["id"], "approve": True}]
    approved = await asked(api, upstream, {}, input=yes, previous_response_id=response["id"])
    assert [item["output"] for item in approved["output"] if item["type"] == "mcp_call"] == ["1 notes"]


async def test_a_forbidden_tool_is_neither_listed_nor_called(api: Api, upstream: Upstream) -> None:
    await ServerTool.objects.filter(name="add").aupdate(approval="never")
    response = await asked(api, upstream, {}, ADD)
    assert "add" not in [tool["name"] for tool in response["output"][0]["tools"]]
    assert await ServerCall.objects.acount() == 0


async def test_a_failing_tool_fails_the_call_and_the_answer_goes_on(api: Api, upstream: Upstream) -> None:
    response = await asked(api, upstream, {}, says(tool_calls=[("trial__fail", "{}")]))
    call = response["output"][1]
    assert call["status"] == "failed"
    assert "It does not work today." in call["error"]["content"][0]["text"]
    assert response["status"] == "completed"


@pytest.mark.parametrize("entry", [{"server_label": "nobody"}, {"server_label": "other", "server_url": "http://127.0.0.1:9/mcp"}])
async def test_unknown_and_unallowed_servers_are_errors_of_the_listing(api: Api, upstream: Upstream, entry: dict[str, str]) -> None:
    response = await asked(api, upstream, entry)
    assert response["output"][0]["error"]
    assert kinds(response)[-1] == "message"


async def test_a_server_of_another_user_does_not_exist(api: Api, upstream: Upstream, server: ToolServer) -> None:
    await ToolServer.objects.filter(pk=server.pk).aupdate(owner=api.users.other)
    response = await asked(api, upstream, {})
    assert "no tool server" in response["output"][0]["error"]


async def test_an_allowed_address_is_called_with_the_callers_token(api: Api, upstream: Upstream, remote: McpServer, settings: Any) -> None:
    settings.TOOL_SERVER_HOSTS, settings.PRIVATE_WEBHOOKS = ["127.0.0.1"], True
    remote.token = "of-the-caller"
    entry = {"server_label": "theirs", "server_url": remote.url, "authorization": "of-the-caller"}
    response = await asked(api, upstream, entry, says(tool_calls=[("theirs__add", '{"a": 2, "b": 3}')]))
    assert response["output"][1]["output"] == "5"


async def test_an_allowed_address_must_be_public(api: Api, upstream: Upstream, remote: McpServer, settings: Any) -> None:
    settings.TOOL_SERVER_HOSTS = ["*"]
    response = await asked(api, upstream, {"server_label": "inside", "server_url": remote.url})
    assert "not a public address" in response["output"][0]["error"]
