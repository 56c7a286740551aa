"""Backends that speak Anthropic's Messages API: passed on to Anthropic's clients, translated for OpenAI's, mixed in one route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from tests.anthropic_replies import answers, counts, event, refuses
from tests.gateway.api import Api
from tests.upstream import CUT, Upstream, says, status, stream
from webapp.backends.models import Attempt, Backend
from webapp.backends.runtime import registry
from webapp.core.database import in_database
from webapp.patterns.messages.answers import SIGNATURE

MakeUpstream = Callable[..., Upstream]
HELLO: Any = [{"role": "user", "content": "hi"}]
BODY = {"model": "m", "max_tokens": 64, "messages": HELLO}
TOOL: Any = {"name": "add", "description": "Add.", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}
FUNCTION: Any = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}


@pytest.fixture
def native(upstream: Upstream) -> Upstream:
    """A server that speaks both protocols."""
    upstream.paths["/v1/messages"] = answers("Hello from Claude.")
    return upstream


async def serve(api: Api, *upstreams: Upstream, only: bool = False, **options: Any) -> None:
    """Serve the route `m`: the first server speaks Messages (and nothing else where `only`), the others chat completions."""
    first, *_ = await api.serve(*upstreams, **options)
    capabilities = {"messages": True, "count_tokens": True, **({"chat_completions": False} if only else {})}
    await in_database(lambda: Backend.objects.filter(pk=first.pk).update(capabilities=capabilities))
    await in_database(first.save, update_fields=["updated_at"])
    registry.stale()


def client(api: Api) -> Any:
    """Return Anthropic's client."""
    return anthropic.AsyncAnthropic(api_key=None, auth_token=api.token, base_url="http://testserver", http_client=api.http, max_retries=0)


def paths(upstream: Upstream) -> list[str]:
    return [request.path for request in upstream.requests]


async def test_a_message_is_passed_on_with_the_words_of_the_caller(api: Api, native: Upstream) -> None:
    await serve(api, native)
    extras = {"context_management": {"edits": []}, "cache_control": {"type": "ephemeral"}, "system": None}
    response = await api.post("messages?beta=true", {**BODY, **extras}, headers={"anthropic-beta": "context-management-2025-06-27"})
    assert response.json()["id"] == "msg_upstream"
    asked = native.requests[0]
    assert asked.path == "/v1/messages"
    assert asked.body == {**BODY, "context_management": {"edits": []}, "cache_control": {"type": "ephemeral"}}
    assert asked.headers["anthropic-beta"] == "context-management-2025-06-27"
    assert asked.headers["anthropic-version"] == "2023-06-01"
    assert asked.headers["authorization"] == "Bearer upstream-key-123456"


async def test_a_stream_is_passed_on_as_it_comes(api: Api, native: Upstream) -> None:
    await serve(api, native)
    native.paths["/v1/messages"] = answers("Yes.", thinking="Hm.", tools=[("add", {"a": 1})])
    response = await api.post("messages", {**BODY, "stream": True})
    assert response.text.startswith("event: message_start")
    assert "sig-of-anthropic" in response.text
    assert response.text.endswith(event("message_stop").decode())
    assert native.requests[0].body["stream"] is True
    async with client(api).messages.stream(model="m", max_tokens=64, messages=HELLO) as events:
        message = await events.get_final_message()
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]


async def test_what_it_used_is_counted(api: Api, native: Upstream) -> None:
    await serve(api, native)
    for streamed in (False, True):
        await api.post("messages", {**BODY, "stream": streamed})
    await registry.flush()
    rows = await in_database(lambda: list(Attempt.objects.values_list("prompt_tokens", "completion_tokens", "estimated")))
    assert rows == [(7, 3, False), (7, 3, False)]


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_server_that_has_no_such_path_is_asked_in_chat_completions(api: Api, upstream: Upstream, streamed: bool) -> None:
    await serve(api, upstream)
    for _ in range(2):
        response = await api.post("messages", {**BODY, "stream": streamed})
        assert "upstream." in response.text
        assert response.status_code == 200
    assert paths(upstream) == ["/v1/messages", "/v1/chat/completions", "/v1/chat/completions"]


async def test_a_server_that_does_not_know_the_model_still_speaks_the_protocol(api: Api, native: Upstream) -> None:
    await serve(api, native)
    native.paths["/v1/messages"] = refuses(404, "not_found_error", "model: m")
    response = await api.post("messages", BODY)
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")
    assert paths(native) == ["/v1/messages"]


async def test_a_chat_server_takes_over_where_the_native_one_fails(api: Api, native: Upstream, make_upstream: MakeUpstream) -> None:
    chat = make_upstream()
    await serve(api, native, chat)
    native.paths["/v1/messages"] = status(500)
    response = await api.post("messages", BODY)
    assert response.json()["content"] == [{"type": "text", "text": "Hello from upstream."}]
    assert response.headers["x-patchbay-backend"] == "backend1"


async def test_a_native_server_takes_over_where_a_chat_server_fails(api: Api, native: Upstream, make_upstream: MakeUpstream) -> None:
    chat = make_upstream()
    chat.default = status(500)
    _chat, second = await api.serve(chat, native)
    await in_database(lambda: Backend.objects.filter(pk=second.pk).update(capabilities={"messages": True, "chat_completions": False}))
    await in_database(second.save, update_fields=["updated_at"])
    response = await api.post("messages", BODY)
    assert response.json()["id"] == "msg_upstream"
    chatted = await api.chat()
    assert chatted.json()["choices"][0]["message"]["content"] == "Hello from Claude."


async def test_a_native_stream_that_breaks_goes_on_at_a_chat_server(api: Api, native: Upstream, make_upstream: MakeUpstream) -> None:
    chat = make_upstream()
    await serve(api, native, chat, mid_stream="continue")
    begun = [
        event("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": {}}),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": "Half"}),
    ]
    native.paths["/v1/messages"] = stream(*(data.decode() for data in begun), 0.05, CUT)
    chat.default = says(" and the rest.")
    async with client(api).messages.stream(model="m", max_tokens=64, messages=HELLO) as events:
        message = await events.get_final_message()
    assert [block.text for block in message.content] == ["Half", " and the rest."]


async def test_a_tool_that_anthropic_runs_goes_to_servers_that_can_run_it(api: Api, native: Upstream, make_upstream: MakeUpstream) -> None:
    chat = make_upstream()
    _chat, second = await api.serve(chat, native)
    await in_database(lambda: Backend.objects.filter(pk=second.pk).update(capabilities={"messages": True}))
    await in_database(second.save, update_fields=["updated_at"])
    response = await api.post("messages", {**BODY, "tools": [{"type": "web_search_20250305", "name": "web_search"}]})
    assert response.json()["id"] == "msg_upstream"
    assert chat.requests == []


async def test_thinking_of_a_chat_server_is_not_sent_to_anthropic(api: Api, native: Upstream) -> None:
    await serve(api, native)
    said = [
        {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE},
        {"type": "tool_use", "id": "functions.add:0", "name": "add", "input": {"a": 1}},
    ]
    result = [{"type": "tool_result", "tool_use_id": "functions.add:0", "content": "1"}]
    history = [*HELLO, {"role": "assistant", "content": said}, {"role": "user", "content": result}]
    thinking = {"type": "enabled", "budget_tokens": 2000}
    await api.post("messages", {**BODY, "messages": history, "tools": [TOOL], "thinking": thinking})
    sent = native.requests[0].body
    assert sent["messages"][1]["content"] == [{"type": "tool_use", "id": "functions_add_0", "name": "add", "input": {"a": 1}}]
    assert sent["messages"][2]["content"][0]["tool_use_id"] == "functions_add_0"
    assert sent["thinking"] == {"type": "disabled"}


async def test_tokens_are_counted_by_the_server_that_can(api: Api, native: Upstream) -> None:
    await serve(api, native)
    native.paths["/v1/messages/count_tokens"] = counts(1234)
    counted = await client(api).messages.count_tokens(model="m", messages=HELLO)
    assert counted.input_tokens == 1234
    assert native.requests[0].body == {"model": "m", "messages": HELLO}


async def test_tokens_are_estimated_where_the_server_does_not_count(api: Api, native: Upstream) -> None:
    await serve(api, native)
    native.paths["/v1/messages/count_tokens"] = status(500)
    counted = await client(api).messages.count_tokens(model="m", messages=HELLO)
    assert 0 < counted.input_tokens < 20


# --- chat completions by a server that speaks Messages only


async def test_openais_client_gets_a_whole_chat_completion(api: Api, native: Upstream) -> None:
    await serve(api, native, only=True)
    answer = await api.sdk().chat.completions.create(
        model="m", messages=[{"role": "system", "content": "Be brief."}, *HELLO], temperature=1.5, stop="END", max_tokens=9
    )
    assert answer.choices[0].message.content == "Hello from Claude."
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (7, 3)
    assert native.requests[0].path == "/v1/messages"
    assert native.requests[0].body == {
        "model": "m",
        "max_tokens": 9,
        "system": [{"type": "text", "text": "Be brief."}],
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}],
        "stop_sequences": ["END"],
        "temperature": 1.0,
    }


async def test_openais_client_streams_with_tools_and_usage(api: Api, native: Upstream) -> None:
    await serve(api, native, only=True)
    native.paths["/v1/messages"] = answers("I add.", thinking="Hm.", tools=[("add", {"a": 1}), ("add", {"a": 2})])
    options: Any = {"stream_options": {"include_usage": True}, "tools": [FUNCTION]}
    async with api.sdk().chat.completions.stream(model="m", messages=HELLO, **options) as events:
        final = await events.get_final_completion()
    message = final.choices[0].message
    assert message.content == "I add."
    assert message.tool_calls
    assert [call.function.arguments for call in message.tool_calls] == ['{"a": 1}', '{"a": 2}']
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage
    assert final.usage.total_tokens == 10


async def test_a_stream_without_usage_ends_with_done(api: Api, native: Upstream) -> None:
    await serve(api, native, only=True)
    response = await api.chat(stream=True)
    assert "usage" not in response.text
    assert response.text.endswith("data: [DONE]\n\n")
    assert response.text.count("[DONE]") == 1


async def test_a_server_that_did_not_stream_though_asked_is_streamed(api: Api, native: Upstream) -> None:
    await serve(api, native, only=True)
    whole = {"type": "message", "content": [{"type": "text", "text": "Whole."}], "stop_reason": "end_turn", "usage": {"input_tokens": 1}}
    native.paths["/v1/messages"] = status(200, whole)
    chunks = [chunk async for chunk in await api.sdk().chat.completions.create(model="m", messages=HELLO, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Whole."
    events = (await api.post("messages", {**BODY, "stream": True})).text
    assert events.count("event: message_stop") == 1


@pytest.mark.parametrize("body", [{"type": "message"}, {"choices": []}])
async def test_an_answer_that_is_no_message_is_a_bad_answer(api: Api, native: Upstream, body: Any) -> None:
    await serve(api, native, only=True)
    native.paths["/v1/messages"] = status(200, body)
    assert (await api.chat()).status_code == 502
    assert (await api.post("messages", BODY)).status_code == 502


async def test_what_anthropic_cannot_do_is_refused(api: Api, native: Upstream) -> None:
    await serve(api, native, only=True)
    response = await api.chat(n=2)
    assert (response.status_code, response.json()["error"]["code"]) == (400, "unsupported_parameter")
    assert native.requests == []


async def test_an_error_event_breaks_the_stream(api: Api, native: Upstream) -> None:
    await serve(api, native, only=True)
    error = event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    native.paths["/v1/messages"] = stream(error.decode())
    response = await api.chat(stream=True)
    assert response.status_code == 502
    assert "Overloaded" in response.json()["error"]["message"]


async def test_an_anthropic_backend_sends_its_key_as_anthropic_wants_it(api: Api, native: Upstream) -> None:
    backend, *_ = await api.serve(native)
    await in_database(lambda: Backend.objects.filter(pk=backend.pk).update(preset="anthropic"))
    await in_database(backend.refresh_from_db)
    await in_database(backend.save, update_fields=["updated_at"])
    assert (await api.post("messages", BODY)).json()["id"] == "msg_upstream"
    headers = native.requests[0].headers
    assert headers["x-api-key"] == "upstream-key-123456"
    assert "authorization" not in headers
    found = await (await registry.backend("backend0")).models()
    assert [model.id for model in found] == ["m"]
    assert native.requests[1].query == {"limit": "1000"}
    assert native.requests[1].headers["anthropic-version"] == "2023-06-01"
