"""Backends that speak Responses and nothing else: every endpoint of the gateway works over them, and the chat does."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.gateway.api import Api
from tests.responses_replies import responds
from tests.upstream import Upstream, says, status
from webapp.backends.models import Attempt, Backend
from webapp.backends.runtime import registry
from webapp.core.database import in_database

HELLO: Any = [{"role": "user", "content": "hi"}]


@pytest.fixture
async def only(api: Api, upstream: Upstream) -> Upstream:
    """The server of the route `m`."""
    upstream.paths["/v1/responses"] = responds("Hello from Responses.")
    upstream.paths["/v1/chat/completions"] = status(404, {"error": {"message": "Not found"}})
    await serve(api, upstream)
    return upstream


async def serve(api: Api, *upstreams: Upstream) -> None:
    """Serve the route `m`; the first server speaks Responses only."""
    first, *_ = await api.serve(*upstreams)
    capabilities = {"responses": True, "chat_completions": False}
    await in_database(lambda: Backend.objects.filter(pk=first.pk).update(capabilities=capabilities))
    await in_database(first.save, update_fields=["updated_at"])
    registry.stale()


async def test_chat_completions_are_translated_whole_and_streamed(api: Api, only: Upstream) -> None:
    whole = await api.post("chat/completions", {"model": "m", "messages": HELLO})
    assert whole.json()["choices"][0]["message"]["content"] == "Hello from Responses."
    streamed = await api.post("chat/completions", {"model": "m", "messages": HELLO, "stream": True})
    events = [line.removeprefix("data: ") for line in streamed.text.splitlines() if line]
    assert events[-1] == "[DONE]"
    chunks = [json.loads(event) for event in events[:-1]]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks) == "Hello from Responses."
    assert [request.path for request in only.requests] == ["/v1/responses"] * 2
    await registry.flush()
    rows = await in_database(lambda: list(Attempt.objects.values_list("prompt_tokens", "completion_tokens", "estimated")))
    assert rows == [(9, 4, False), (9, 4, False)]


async def test_a_response_passes_and_one_with_tools_of_the_product_is_translated(api: Api, only: Upstream) -> None:
    passed = await api.post("responses", {"model": "m", "input": "hi", "text": {"verbosity": "low"}})
    assert passed.json()["output"][0]["content"][0]["text"] == "Hello from Responses."
    assert only.requests[0].body["text"] == {"verbosity": "low"}
    tool = {"type": "mcp", "server_label": "patchbay", "require_approval": "never"}
    only.script(responds(tools=[("patchbay__calculator", '{"expression": "6*7"}')]), responds("It is 42."), path="/v1/responses")
    used = (await api.post("responses", {"model": "m", "input": "6*7?", "tools": [tool]})).json()
    assert [item["type"] for item in used["output"]] == ["mcp_list_tools", "mcp_call", "message"]
    assert "42" in used["output"][1]["output"]
    assert only.requests[-1].body["input"][-1]["type"] == "function_call_output"


async def test_a_message_of_anthropics_protocol_is_translated(api: Api, only: Upstream) -> None:
    answer = await api.post("messages", {"model": "m", "max_tokens": 64, "messages": HELLO})
    assert answer.json()["content"] == [{"type": "text", "text": "Hello from Responses."}]
    assert only.requests[0].body["max_output_tokens"] == 64


async def test_the_next_step_takes_over_before_the_first_word(api: Api, upstream: Upstream, make_upstream: Any) -> None:
    other = make_upstream()
    other.default = says("From a chat server.")
    upstream.paths["/v1/responses"] = responds(status="failed", error={"code": "server_error", "message": "No."})
    await serve(api, upstream, other)
    for streamed in (False, True):
        answer = await api.post("chat/completions", {"model": "m", "messages": HELLO, "stream": streamed})
        assert "server" in answer.text
