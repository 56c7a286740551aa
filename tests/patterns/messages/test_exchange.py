"""Servers that speak Anthropic's Messages, called by a backend, with and without a translation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.anthropic_replies import answers, counts, refuses
from tests.upstream import Upstream, says, status
from webapp.patterns import Chain, MemoryBreakers, OpenAIBackend, Request, Step, errors
from webapp.patterns.backend import CountsTokens
from webapp.patterns.messages import complete, to_request
from webapp.patterns.messages.answers import SIGNATURE
from webapp.patterns.messages.exchange import passed_body
from webapp.patterns.types import AttemptLog, Usage

HELLO: Any = [{"role": "user", "content": "hi"}]
BODY: Any = {"model": "m", "max_tokens": 64, "messages": HELLO}
CHAT = Request.chat(HELLO, model="m")


@pytest.fixture
async def native(upstream: Upstream) -> AsyncIterator[OpenAIBackend]:
    """A backend that speaks both protocols."""
    upstream.paths["/v1/messages"] = answers("Hello from Claude.", tools=[("add", {"a": 1})])
    async with OpenAIBackend("both", upstream.base_url, api_key="key-123", capabilities={"messages": True}) as backend:
        yield backend


@pytest.fixture
async def messages_backend(upstream: Upstream) -> AsyncIterator[OpenAIBackend]:
    """A backend that speaks Messages only, with the key in Anthropic's header."""
    upstream.paths["/v1/messages"] = answers("Hello from Claude.")
    capabilities = {"messages": True, "chat_completions": False}
    headers = {"x-api-key": "key-123", "anthropic-version": "2023-06-01"}
    async with OpenAIBackend("claude", upstream.base_url, api_key="key-123", headers=headers, capabilities=capabilities) as backend:
        yield backend


async def test_a_message_passes_with_the_words_of_the_caller(native: OpenAIBackend, upstream: Upstream) -> None:
    trail = AttemptLog()
    request = to_request({**BODY, "system": None, "stream": False}, beta="context-1m")
    response = await complete(native, request, trail=trail)
    assert response.body["id"] == "msg_upstream"
    assert upstream.requests[0].body == BODY
    assert upstream.requests[0].headers["anthropic-beta"] == "context-1m"
    assert trail.usage == Usage(7, 3, cached_tokens=2)
    assert trail.attempts[0].path == "messages"


@pytest.mark.parametrize("beta", ["", "half\n", "é"])
async def test_a_header_that_cannot_be_sent_is_left_out(native: OpenAIBackend, upstream: Upstream, beta: str) -> None:
    await complete(native, to_request(BODY, beta=beta))
    assert "anthropic-beta" not in upstream.requests[0].headers


async def test_a_stream_passes_as_it_comes(native: OpenAIBackend) -> None:
    chunks = [chunk async for chunk in native.stream(to_request(BODY))]
    assert {chunk.protocol for chunk in chunks} == {"messages"}
    raw = b"".join(chunk.raw for chunk in chunks)
    assert raw.count(b"event: message_stop") == 1
    assert "".join(delta.text for chunk in chunks for delta in chunk.deltas) == "Hello from Claude."


async def test_a_chat_server_answers_a_message_by_a_translation(upstream: Upstream) -> None:
    async with OpenAIBackend("chat", upstream.base_url) as backend:
        trail = AttemptLog()
        response = await complete(backend, to_request(BODY), trail=trail)
        assert response.body["content"] == [{"type": "text", "text": "Hello from upstream."}]
        assert response.usage == Usage(7, 3)
        untranslatable = to_request({**BODY, "tools": [{"type": "web_search_20250305", "name": "web_search"}]})
        with pytest.raises(errors.CapabilityMissing, match="web_search"):
            await backend.send(untranslatable)
    assert len(upstream.requests) == 1


async def test_a_server_without_the_path_is_asked_in_chat_completions_from_then_on(native: OpenAIBackend, upstream: Upstream) -> None:
    del upstream.paths["/v1/messages"]
    chain = Chain("r", [Step(native, "m")], breakers=MemoryBreakers())
    for _ in range(2):
        assert (await complete(chain, to_request(BODY))).body["content"][0]["text"] == "Hello from upstream."
    assert [request.path for request in upstream.requests] == ["/v1/messages", *["/v1/chat/completions"] * 2]


@pytest.mark.parametrize("reply", [refuses(404, "not_found_error", "model: m"), refuses(400, "invalid_request_error", "No.")])
async def test_another_refusal_says_nothing_about_the_protocol(native: OpenAIBackend, upstream: Upstream, reply: Any) -> None:
    upstream.paths["/v1/messages"] = reply
    with pytest.raises(errors.BackendError):
        await complete(native, to_request(BODY))
    assert native.capabilities["messages"] is True


async def test_a_server_that_speaks_nothing_else_is_not_given_up(messages_backend: OpenAIBackend, upstream: Upstream) -> None:
    del upstream.paths["/v1/messages"]
    with pytest.raises(errors.BackendError):
        await messages_backend.send(CHAT)
    assert messages_backend.capabilities["messages"] is True


async def test_a_chat_completion_is_translated(messages_backend: OpenAIBackend, upstream: Upstream) -> None:
    response = await messages_backend.send(CHAT)
    assert (response.text, response.protocol, response.usage) == ("Hello from Claude.", "", Usage(7, 3, cached_tokens=2))
    chunks = [chunk async for chunk in messages_backend.stream(CHAT)]
    assert b"".join(chunk.raw for chunk in chunks).endswith(b"data: [DONE]\n\n")
    assert upstream.requests[0].headers["x-api-key"] == "key-123"
    assert "authorization" not in upstream.requests[0].headers


async def test_what_the_server_cannot_do_is_a_missing_capability(messages_backend: OpenAIBackend) -> None:
    with pytest.raises(errors.CapabilityMissing):
        await messages_backend.send(CHAT.with_options(n=3))


async def test_a_whole_answer_is_streamed_where_the_server_did_not_stream(
    native: OpenAIBackend, messages_backend: OpenAIBackend, upstream: Upstream
) -> None:
    whole = {"type": "message", "content": [{"type": "text", "text": "Whole."}], "stop_reason": "end_turn", "usage": {"input_tokens": 1}}
    upstream.paths["/v1/messages"] = status(200, whole)
    for backend, request in ((native, to_request(BODY)), (messages_backend, CHAT)):
        chunks = [chunk async for chunk in backend.stream(request)]
        assert "".join(delta.text for chunk in chunks for delta in chunk.deltas) == "Whole."


async def test_what_is_no_message_is_a_bad_answer(native: OpenAIBackend, messages_backend: OpenAIBackend, upstream: Upstream) -> None:
    upstream.paths["/v1/messages"] = status(200, {"type": "message", "usage": {"input_tokens": 1}})
    for backend, request in ((native, to_request(BODY)), (messages_backend, CHAT)):
        with pytest.raises(errors.BadAnswer):
            await backend.send(request)


async def test_tokens_are_counted_by_the_server(messages_backend: OpenAIBackend, upstream: Upstream) -> None:
    assert isinstance(messages_backend, CountsTokens)
    upstream.paths["/v1/messages/count_tokens"] = counts(42)
    assert await messages_backend.count_tokens(to_request(BODY)) == 42
    assert await messages_backend.count_tokens(CHAT) == 42
    assert all("max_tokens" not in request.body for request in upstream.requests)
    upstream.paths["/v1/messages/count_tokens"] = status(200, {"tokens": 1})
    with pytest.raises(errors.BadAnswer):
        await messages_backend.count_tokens(CHAT)


async def test_models_are_listed_a_thousand_at_a_time(messages_backend: OpenAIBackend, upstream: Upstream) -> None:
    assert [model.id for model in await messages_backend.models()] == ["m"]
    assert upstream.requests[0].query == {"limit": "1000"}


def test_a_body_passes_but_for_nulls_and_the_model() -> None:
    body = {**BODY, "top_k": None, "metadata": {"user_id": "u"}}
    assert passed_body(body, "claude") == {**BODY, "metadata": {"user_id": "u"}, "model": "claude"}


def test_what_chat_servers_said_is_put_into_a_form_that_anthropic_takes() -> None:
    said: Any = [
        {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE},
        {"type": "thinking", "thinking": "Kept.", "signature": "of-anthropic"},
        {"type": "tool_use", "id": "functions.add:0", "name": "add", "input": {}},
        "odd",
    ]
    result = {"type": "tool_result", "tool_use_id": "functions.add:0", "content": "1"}
    messages = [*HELLO, {"role": "assistant", "content": said}, {"role": "user", "content": [result]}]
    sent = passed_body({**BODY, "messages": messages, "thinking": {"type": "adaptive"}}, "m")
    assert sent["messages"][1]["content"] == [said[1], {**said[2], "id": "functions_add_0"}, "odd"]
    assert sent["messages"][2]["content"][0]["tool_use_id"] == "functions_add_0"
    assert sent["thinking"] == {"type": "adaptive"}


@pytest.mark.parametrize(("thinking", "expected"), [({"type": "adaptive"}, {"type": "disabled"}), (None, None)])
def test_thinking_is_off_where_its_beginning_was_left_out(thinking: Any, expected: Any) -> None:
    said = [{"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "tool_use", "id": "a", "name": "add", "input": {}}]
    sent = passed_body({**BODY, "messages": [*HELLO, {"role": "assistant", "content": said}], "thinking": thinking}, "m")
    assert sent.get("thinking") == expected


def test_thinking_stays_on_where_the_last_turn_calls_nothing() -> None:
    said = [{"type": "thinking", "thinking": "Hm.", "signature": ""}, {"type": "text", "text": "Hi."}]
    body = {**BODY, "messages": [*HELLO, {"role": "assistant", "content": said}], "thinking": {"type": "adaptive"}}
    assert passed_body(body, "m")["thinking"] == {"type": "adaptive"}


def test_thinking_stays_on_where_only_the_users_words_changed() -> None:
    result = {"type": "tool_result", "tool_use_id": "a.b", "content": "1"}
    body = {**BODY, "messages": [{"role": "user", "content": [result]}], "thinking": {"type": "adaptive"}}
    assert passed_body(body, "m")["thinking"] == {"type": "adaptive"}


async def test_a_chain_without_a_log_still_counts(upstream: Upstream) -> None:
    upstream.default = says("ok")
    async with OpenAIBackend("chat", upstream.base_url) as backend:
        response = await complete(Chain("r", [Step(backend, "m")], breakers=MemoryBreakers()), to_request(BODY))
    assert response.body["usage"]["input_tokens"] == 7
