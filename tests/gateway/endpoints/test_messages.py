"""Anthropic's own client over routes of chat servers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import pytest

from tests.gateway.api import Api, Exchange
from tests.upstream import CUT, STALL, Upstream, chunk, closed_port, error, says, silence, status, stream
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.core.database import in_database

MakeUpstream = Callable[..., Upstream]
HELLO: Any = [{"role": "user", "content": "hi"}]
BODY = {"model": "m", "max_tokens": 64, "messages": HELLO}
TOOL: Any = {"name": "add", "description": "Add.", "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def client(api: Api) -> Any:
    """Return Anthropic's client, with the token as it sends it: in `x-api-key`. Its overloads do not know plain dictionaries, so Any."""
    del api.http.headers["authorization"]
    return anthropic.AsyncAnthropic(api_key=api.token, base_url="http://testserver", http_client=api.http, max_retries=0)


async def messages(api: Api, **fields: Any) -> Any:
    return await api.post("messages", {**BODY, **fields})


async def test_a_whole_message_comes_back_with_who_served_it(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    response = await messages(api, system="Be brief.", temperature=0.5)
    body = response.json()
    assert response.status_code == 200
    assert body["content"] == [{"type": "text", "text": "Hello from upstream."}]
    assert (body["type"], body["role"], body["model"], body["stop_reason"]) == ("message", "assistant", "m", "end_turn")
    assert body["usage"]["input_tokens"] == 7
    assert body["usage"]["output_tokens"] == 3
    assert response.headers["x-patchbay-backend"] == "backend0"
    assert response.headers["request-id"] == response.headers["x-request-id"]
    sent = upstream.requests[0].body
    assert sent["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]
    assert (sent["max_tokens"], sent["temperature"], sent["model"]) == (64, 0.5, "m")


async def test_anthropics_client_streams(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    async with client(api).messages.stream(model="m", max_tokens=64, messages=HELLO) as events:
        text = "".join([piece async for piece in events.text_stream])
        message = await events.get_final_message()
    assert text == "Hello from upstream."
    assert (message.stop_reason, message.usage.input_tokens, message.usage.output_tokens) == ("end_turn", 7, 3)


@pytest.mark.parametrize("streamed", [False, True])
async def test_tools_are_called_and_answered(api: Api, upstream: Upstream, streamed: bool) -> None:
    await api.serve(upstream)
    upstream.script(says("I add.", tool_calls=[("add", '{"a": 1}'), ("add", '{"a": 2}')]))
    sdk = client(api)
    asked = {"model": "m", "max_tokens": 64, "tools": [TOOL]}
    if streamed:
        async with sdk.messages.stream(messages=HELLO, **asked) as events:
            called = await events.get_final_message()
    else:
        called = await sdk.messages.create(messages=HELLO, **asked)
    uses = [block for block in called.content if block.type == "tool_use"]
    assert [use.input for use in uses] == [{"a": 1}, {"a": 2}]
    assert called.stop_reason == "tool_use"
    results: Any = [{"type": "tool_result", "tool_use_id": use.id, "content": str(number)} for number, use in enumerate(uses)]
    history: Any = [*HELLO, called.to_param(), {"role": "user", "content": results}]
    await sdk.messages.create(messages=history, **asked)
    sent = upstream.requests[1].body["messages"]
    assert [message["role"] for message in sent] == ["user", "assistant", "tool", "tool"]
    assert [call["id"] for call in sent[1]["tool_calls"]] == [message["tool_call_id"] for message in sent[2:]]


@pytest.mark.parametrize("streamed", [False, True])
async def test_thinking_is_shown_to_those_who_ask_and_not_sent_back(api: Api, upstream: Upstream, streamed: bool) -> None:
    await api.serve(upstream)
    upstream.script(stream(chunk({"reasoning_content": "Hm."}), chunk({"content": "4"}), chunk(finish="stop")))
    if not streamed:
        said = {"role": "assistant", "content": "4", "reasoning_content": "Hm."}
        upstream.forget()
        upstream.script(status(200, {"choices": [{"index": 0, "message": said, "finish_reason": "stop"}]}))
    sdk = client(api)
    asked: Any = {"model": "m", "max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    if streamed:
        async with sdk.messages.stream(messages=HELLO, **asked) as events:
            answered = await events.get_final_message()
    else:
        answered = await sdk.messages.create(messages=HELLO, **asked)
    assert [block.type for block in answered.content] == ["thinking", "text"]
    again: Any = [*HELLO, answered.to_param(), {"role": "user", "content": "And 3+3?"}]
    await sdk.messages.create(messages=again, **asked)
    first, second = (request.body for request in upstream.requests)
    assert first["reasoning_effort"] == "low"
    assert second["messages"][1] == {"role": "assistant", "content": "4"}


async def test_what_claude_code_sends_besides_is_tolerated(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    system = [{"type": "text", "text": "You are an agent.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    extras = {
        "system": system,
        "metadata": {"user_id": "user_1"},
        "thinking": {"type": "adaptive"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "output_config": {"effort": "medium"},
        "tools": [{**TOOL, "eager_input_streaming": True}],
    }
    headers = {"anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14", "anthropic-version": "2023-06-01"}
    response = await api.post("messages?beta=true", {**BODY, **extras}, headers=headers)
    assert response.status_code == 200
    assert upstream.requests[0].body.keys() == {"model", "messages", "max_tokens", "tools", "reasoning_effort"}


async def test_the_next_step_answers_where_the_first_is_dead(api: Api, make_upstream: MakeUpstream) -> None:
    good = make_upstream()
    await api.serve(f"http://127.0.0.1:{closed_port()}/v1", good)  # type: ignore[arg-type]  # an address serves as well
    async with client(api).messages.stream(model="m", max_tokens=64, messages=HELLO) as events:
        assert await events.get_final_text() == "Hello from upstream."
        assert events.response.headers["x-patchbay-attempts"] == "2"
    await registry.flush()
    rows = await in_database(lambda: list(Attempt.objects.order_by("id").values_list("outcome", "endpoint", "route")))
    assert rows == [("failed", "messages", "m"), ("ok", "messages", "m")]


async def test_a_stream_that_breaks_ends_with_an_error_event(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = stream(chunk({"content": "Half"}), 0.05, CUT)
    response = await messages(api, stream=True)
    *_, last = response.text.strip().split("\n\n")
    name, data = last.split("\n")
    assert name == "event: error"
    told = json.loads(data.removeprefix("data: "))
    assert (told["type"], told["error"]["type"]) == ("error", "api_error")
    assert "message_stop" not in response.text


async def test_a_route_that_restarts_goes_on_in_a_new_block(api: Api, make_upstream: MakeUpstream) -> None:
    broken, good = make_upstream(), make_upstream()
    broken.default = stream(chunk({"content": "Half"}), 0.05, CUT)
    await api.serve(broken, good, mid_stream="restart")
    async with client(api).messages.stream(model="m", max_tokens=64, messages=HELLO) as events:
        message = await events.get_final_message()
    assert [block.text for block in message.content if block.type == "text"] == ["Half", "Hello from upstream."]


async def test_a_client_that_leaves_closes_the_upstream(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = stream(chunk({"content": "Half"}), STALL)
    exchange = Exchange(
        "messages",
        json.dumps({**BODY, "stream": True}).encode(),
        headers={"x-api-key": api.token},
    )
    running = asyncio.ensure_future(exchange.run())
    await asyncio.wait_for(exchange.first_piece.wait(), 10)
    exchange.gone.set()
    await running
    assert await asyncio.to_thread(upstream.requests[0].gone.wait, 5)


@pytest.mark.parametrize(
    ("change", "kind", "code"),
    [
        ({"model": "nope"}, "not_found_error", 404),
        ({"max_tokens": None}, "invalid_request_error", 400),
        ({"messages": []}, "invalid_request_error", 400),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "invalid_request_error", 400),
        ({"api_base": "http://evil"}, "invalid_request_error", 400),
    ],
)
async def test_a_wrong_request_is_told_in_anthropics_shape(api: Api, upstream: Upstream, change: Any, kind: str, code: int) -> None:
    await api.serve(upstream)
    response = await messages(api, **change)
    body = response.json()
    assert response.status_code == code
    assert (body["type"], body["error"]["type"]) == ("error", kind)
    assert body["request_id"] == response.headers["request-id"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("reply", "raised"),
    [
        (error("Slow down.", code=429), anthropic.RateLimitError),
        (error("Bad image.", code=400), anthropic.BadRequestError),
        (status(500), anthropic.InternalServerError),
        (error("Wrong key.", code=401), anthropic.InternalServerError),
    ],
)
async def test_a_backends_refusal_raises_the_right_exception_of_the_client(api: Api, upstream: Upstream, reply: Any, raised: type) -> None:
    await api.serve(upstream)
    upstream.default = reply
    with pytest.raises(raised):
        await client(api).messages.create(model="m", max_tokens=64, messages=HELLO)


async def test_a_timeout_is_a_timeout_error(api: Api, upstream: Upstream) -> None:
    backends = await api.serve(upstream)
    upstream.default = silence
    await in_database(lambda: type(backends[0]).objects.update(first_token_timeout=0.1))
    registry.stale()
    response = await messages(api, stream=True)
    assert (response.status_code, response.json()["error"]["type"]) == (504, "timeout_error")


async def test_an_overflow_says_that_the_prompt_is_too_long(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = error("This model's maximum context length is 10 tokens.", code=400)
    response = await messages(api)
    assert response.status_code == 400
    assert response.json()["error"]["message"].startswith("prompt is too long")


@pytest.mark.parametrize("headers", [{}, {"x-api-key": "pb-wrong"}, {"authorization": "Bearer pb-wrong"}])
async def test_a_call_without_a_good_token_is_an_authentication_error(api: Api, headers: dict[str, str]) -> None:
    del api.http.headers["authorization"]
    response = await api.post("messages", BODY, headers=headers)
    assert (response.status_code, response.json()["error"]["type"]) == (401, "authentication_error")


async def test_broken_json_is_an_invalid_request(api: Api) -> None:
    response = await api.post("messages", content=b'{"model": NaN}')
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_body_that_is_too_large_has_the_shape_too(api: Api) -> None:
    response = await api.post("messages", content=b"{}", headers={"content-length": str(10**9)})
    assert (response.status_code, response.json()["error"]["type"]) == (413, "request_too_large")


async def test_an_unknown_address_and_a_wrong_method_have_the_shape_too(api: Api) -> None:
    assert (await api.http.get("messages")).json()["error"]["type"] == "invalid_request_error"
    assert (await api.post("messages/nope", {})).json()["error"]["type"] == "not_found_error"


async def test_tokens_are_counted(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    sdk = client(api)
    plain = await sdk.messages.count_tokens(model="m", messages=HELLO)
    with_tools = await sdk.messages.count_tokens(model="m", messages=HELLO, system="Be brief.", tools=[TOOL])
    assert 0 < plain.input_tokens < 20
    assert with_tools.input_tokens > plain.input_tokens
    assert upstream.requests == []


async def test_tokens_of_an_unknown_model_are_not_counted(api: Api) -> None:
    response = await api.post("messages/count_tokens", {"model": "nope", "messages": HELLO})
    assert (response.status_code, response.json()["error"]["type"]) == (404, "not_found_error")


async def test_models_are_listed_in_the_shape_of_the_client(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream, route="fast")
    sdk = client(api)
    page = await sdk.models.list(limit=1)
    names = [model.id async for model in page]
    assert names == ["fast", "backend0/m"]
    assert (page.has_more, page.first_id) == (True, "fast")
    found = await sdk.models.retrieve("fast")
    assert (found.type, found.display_name, found.created_at.year) == ("model", "fast", 2026)
    before = await sdk.models.list(before_id="backend0/m", limit=1)
    assert [model.id for model in before.data] == ["fast"]


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "limit=1001"])
async def test_a_list_of_models_has_its_limits(api: Api, query: str) -> None:
    response = await api.http.get(f"models?{query}", headers={"anthropic-version": "2023-06-01"})
    assert (response.status_code, response.json()["error"]["type"]) == (400, "invalid_request_error")


async def test_a_page_after_an_unknown_model_is_empty(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    response = await api.http.get("models?after_id=nope", headers={"anthropic-version": "2023-06-01"})
    assert response.json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}


async def test_a_token_without_the_scope_is_a_permission_error(api: Api) -> None:
    await api.use_token(api.users.owner, scopes=["models"])
    response = await messages(api)
    assert (response.status_code, response.json()["error"]["type"]) == (403, "permission_error")
