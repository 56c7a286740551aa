"""chat/completions and completions through a chain of real servers."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import openai
import pytest
from asgiref.sync import sync_to_async

from tests.gateway.api import CHAT, MESSAGES, Api, Exchange, sse
from tests.upstream import CUT, STALL, Reply, Upstream, chunk, closed_port, endless, error, says, silence, status, stream
from webapp.backends.models import Attempt, Backend
from webapp.backends.runtime import registry

MakeUpstream = Callable[..., Upstream]


async def test_a_whole_answer_comes_back_with_who_served_it(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    response = await api.chat(temperature=0.5, guided_regex="[a-z]+")
    assert response.status_code == 200
    assert response.json()["choices"][0]["message"]["content"] == "Hello from upstream."
    assert response.headers["x-patchbay-backend"] == "backend0"
    assert response.headers["x-patchbay-model"] == "m"
    assert response.headers["x-patchbay-attempts"] == "1"
    assert response.headers["x-request-id"]
    sent = upstream.requests[0].body
    assert (sent["temperature"], sent["guided_regex"], sent["messages"]) == (0.5, "[a-z]+", MESSAGES)


async def test_a_stream_reaches_the_sdk_without_a_usage_event_that_nobody_asked_for(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    chunks = [chunk async for chunk in await api.sdk().chat.completions.create(model="m", messages=MESSAGES, stream=True)]
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello from upstream."
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_a_usage_event_comes_when_asked_for(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    options = {"include_usage": True}
    chunks = [c async for c in await api.sdk().chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options=options)]  # type: ignore[call-overload]
    assert chunks[-1].usage.total_tokens == 10
    assert chunks[-1].choices == []


async def test_text_completions_stream_and_do_not(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    whole = await api.sdk().completions.create(model="m", prompt="hi")
    assert whole.choices[0].text == "Hello from upstream."
    chunks = [chunk async for chunk in await api.sdk().completions.create(model="m", prompt="hi", stream=True)]
    assert "".join(chunk.choices[0].text for chunk in chunks) == "Hello from upstream."


async def test_tool_calls_pass_in_both_ways(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = says(tool_calls=[("add", '{"a": 1}'), ("sub", '{"b": 2}')])
    whole = await api.sdk().chat.completions.create(model="m", messages=MESSAGES)
    calls = whole.choices[0].message.tool_calls
    assert calls
    assert [call.function.name for call in calls if call.type == "function"] == ["add", "sub"]
    async with api.sdk().chat.completions.stream(model="m", messages=MESSAGES) as events:
        final = await events.get_final_completion()
    streamed = final.choices[0].message.tool_calls
    assert streamed
    assert [call.function.arguments for call in streamed] == ['{"a": 1}', '{"b": 2}']


async def test_the_stream_is_the_bytes_that_the_backend_sent(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    odd = chunk({"content": "é"}, system_fingerprint="fp", extension={"x": [1]})
    upstream.default = stream(": hello\n\n", odd, chunk(finish="stop"), "data: [DONE]\n\n")
    response = await api.chat(stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    events = [event async for event in sse(response)]
    assert events == [odd, chunk(finish="stop"), "[DONE]"]


async def test_done_is_added_where_the_backend_forgets_it(api: Api, upstream: Upstream) -> None:
    """FAULTS 36."""
    await api.serve(upstream)
    upstream.default = stream(chunk({"content": "a"}), chunk(finish="stop"))
    response = await api.chat(stream=True)
    assert response.text.count("[DONE]") == 1
    assert response.text.endswith("data: [DONE]\n\n")


async def test_the_next_backend_answers_when_the_first_fails(api: Api, make_upstream: MakeUpstream) -> None:
    broken, good = make_upstream(), make_upstream()
    broken.default = status(503)
    await api.serve(broken, good)
    for fields in ({}, {"stream": True}):
        response = await api.chat(**fields)
        assert response.status_code == 200
        assert response.headers["x-patchbay-backend"] == "backend1"
        assert response.headers["x-patchbay-attempts"] == "2"


async def test_a_stream_that_breaks_ends_in_an_error_event_and_no_done(api: Api, upstream: Upstream) -> None:
    """FAULTS 37."""
    await api.serve(upstream)
    upstream.default = stream(chunk({"content": "partial"}), CUT)
    response = await api.chat(stream=True)
    events = [event async for event in sse(response)]
    assert events[0]["choices"][0]["delta"]["content"] == "partial"
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}
    assert "[DONE]" not in response.text
    with pytest.raises(openai.APIError):
        async for _ in await api.sdk().chat.completions.create(model="m", messages=MESSAGES, stream=True):
            pass


MUTE = stream(*[b": still here\n\n"] * 5, chunk({"role": "assistant", "content": ""}), STALL)
ENDLESS_LINE = stream(b'data: {"choices": [{"delta": {"content": "', *[b"x" * 100_000] * 12, STALL)


@pytest.mark.parametrize("reply", [MUTE, ENDLESS_LINE, stream(STALL)], ids=["comments only", "a line over 1 MB", "headers only"])
async def test_a_stream_without_any_content_is_given_up_for_the_next_step(api: Api, make_upstream: MakeUpstream, reply: Reply) -> None:
    """FAULTS 38."""
    mute, good = make_upstream(), make_upstream()
    mute.default = reply
    backend, _ = await api.serve(mute, good)
    backend.first_token_timeout = 0.5
    await backend.asave()
    response = await api.chat(stream=True)
    assert response.headers["x-patchbay-backend"] == "backend1"
    assert "upstream" in response.text
    assert await asyncio.to_thread(mute.requests[0].gone.wait, 2)


@pytest.mark.parametrize("pieces", [(STALL,), (CUT,), ({"error": {"message": "no"}},), (b"data: {broken\n\n",)])
async def test_a_stream_that_fails_after_its_first_words_says_so(api: Api, upstream: Upstream, pieces: tuple[Any, ...]) -> None:
    """FAULTS 37: stalls, is cut, reports an error, breaks its JSON."""
    [backend] = await api.serve(upstream)
    backend.idle_timeout = 0.3
    await backend.asave()
    upstream.default = stream(chunk({"content": "partial"}), *pieces)
    response = await api.chat(stream=True)
    events = [event async for event in sse(response)]
    assert events[0]["choices"][0]["delta"]["content"] == "partial"
    assert set(events[-1]["error"]) == {"message", "type", "param", "code"}


async def test_an_address_that_no_backend_may_have_is_never_called(api: Api, upstream: Upstream) -> None:
    """FAULTS 14: in a row that was written past all checks, and by a redirect."""
    first, second = await api.serve(upstream, upstream)
    await Backend.objects.filter(pk=first.pk).aupdate(base_url="http://169.254.169.254/v1")
    await second.asave()  # tells the registry
    upstream.default = status(307, headers={"location": "http://169.254.169.254/v1/chat/completions"})
    response = await api.chat()
    assert response.status_code == 502
    assert response.headers["x-patchbay-attempts"] == "2"
    assert "link-local" in response.text


async def test_a_route_that_continues_goes_on_inside_the_stream(api: Api, make_upstream: MakeUpstream) -> None:
    first, second = make_upstream(), make_upstream()
    first.default = stream(chunk({"content": "one "}), CUT)
    second.default = says("two")
    await api.serve(first, second, mid_stream="continue")
    chunks = [c async for c in await api.sdk().chat.completions.create(model="m", messages=MESSAGES, stream=True)]
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == "one two"


async def test_a_client_that_goes_away_closes_the_upstream_within_a_second(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = endless(pace=0.01)
    exchange = Exchange("chat/completions", json.dumps({**CHAT, "stream": True}).encode(), headers={"authorization": f"Bearer {api.token}"})
    running = asyncio.ensure_future(exchange.run())
    await exchange.first_piece.wait()
    left = time.monotonic()
    exchange.gone.set()
    await asyncio.wait_for(running, 2)
    assert await asyncio.to_thread(upstream.requests[0].gone.wait, 2)
    assert upstream.requests[0].gone_at is not None
    assert upstream.requests[0].gone_at - left < 1


async def test_a_client_that_goes_away_before_the_first_token_closes_the_upstream_too(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = silence
    exchange = Exchange("chat/completions", json.dumps(CHAT).encode(), headers={"authorization": f"Bearer {api.token}"})
    running = asyncio.ensure_future(exchange.run())
    await asyncio.to_thread(upstream.wait_for, 1)
    exchange.gone.set()
    await asyncio.wait_for(running, 2)
    assert await asyncio.to_thread(upstream.requests[0].gone.wait, 2)
    assert exchange.sent == []


async def test_every_attempt_is_recorded_with_who_asked(api: Api, make_upstream: MakeUpstream) -> None:
    broken, good = make_upstream(), make_upstream()
    broken.default = status(500)
    await api.serve(broken, good)
    response = await api.chat()
    await registry.flush()
    rows = await sync_to_async(lambda: list(Attempt.objects.order_by("id")))()
    assert [(row.backend, row.outcome) for row in rows] == [("backend0", "failed"), ("backend1", "ok")]
    assert {str(row.request_id) for row in rows} == {response.headers["x-request-id"]}
    assert api.row
    assert {(row.source, row.user_id, row.token_id, row.route) for row in rows} == {("gateway", api.users.owner.pk, api.row.pk, "m")}
    assert rows[1].prompt_tokens == 7


async def test_all_in_vain_is_told_with_the_last_reason_and_all_headers(api: Api, upstream: Upstream) -> None:
    upstream.default = status(500)
    await api.serve(f"http://127.0.0.1:{closed_port()}/v1", upstream)  # type: ignore[arg-type]  # an address is as good
    response = await api.chat()
    assert response.status_code == 502
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.headers["x-patchbay-attempts"] == "2"


async def test_retry_after_comes_out_again(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    upstream.default = error("slow down", code=429, headers={"retry-after": "120"})
    response = await api.chat()
    assert response.status_code == 429
    assert 100 <= int(response.headers["retry-after"]) <= 120
    again = await api.chat()  # the backend cools now and is not asked
    assert again.status_code == 503
    assert 100 <= int(again.headers["retry-after"]) <= 120
    assert len(upstream.requests) == 1


async def test_templates_in_a_prompt_stay_what_they_are(api: Api, upstream: Upstream) -> None:
    """FAULTS 17."""
    await api.serve(upstream)
    text = "{{7*7}} {0.__class__} %s ${HOME} {% debug %}"
    await api.chat(messages=[{"role": "user", "content": text}])
    assert upstream.requests[0].body["messages"][0]["content"] == text


async def test_a_key_that_the_backend_echoes_is_in_no_answer(api: Api, upstream: Upstream) -> None:
    """FAULTS 15."""
    await api.serve(upstream)
    for code in (400, 401, 500):
        upstream.script(error("bad key upstream-key-123456", code=code, param="upstream-key-123456"))
        response = await api.chat()
        assert response.status_code >= 400
        assert "upstream-key" not in response.text
