"""Each dialect has its right outcome, through the gateway and through the chat (shared/inputs/README.md)."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command

from tests.dialects.conftest import ASK, CASES, TOOLS, Desk, with_image
from webapp.backends.models import Backend, Cooldown
from webapp.backends.runtime import registry

OVERFLOWS = sorted(file.stem for file in CASES.glob("overflow-*.json"))
ACCEPTED = json.loads((CASES / "requests-servers-accept.json").read_text("utf-8"))["bodies"]


def cooling() -> dict[str, str]:
    return {key: health.why for key, health in registry.current()._pools.breakers.snapshot().items()}


# --- refusals that another step of the route answers


@pytest.mark.parametrize(
    "name",
    [
        "account-in-arrears-400",
        "key-expired-400",
        "model-crashed-400",
        "model-load-failed-400",
        "tokens-per-minute-413",
        "loading-503",
        *OVERFLOWS,
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
async def test_the_fallback_answers(desk: Desk, name: str, streamed: bool) -> None:
    route = await desk.route(name)
    if streamed:
        assert (await desk.stream(route)).text == "FALLBACK"
    else:
        assert await desk.answer(route) == "FALLBACK"


async def test_the_fallback_answers_a_question_with_an_image(desk: Desk) -> None:
    assert await desk.answer(await desk.route("no-images-allowed-400"), messages=with_image()) == "FALLBACK"


@pytest.mark.parametrize("name", OVERFLOWS)
async def test_an_overflow_alone_is_the_callers_and_cools_nothing(desk: Desk, name: str) -> None:
    status, error = await desk.error(await desk.add(name))
    assert (status, error["code"]) == (400, "context_length_exceeded")
    assert cooling() == {}


async def test_the_message_of_a_wrapped_error_is_the_providers_own(desk: Desk) -> None:
    _, error = await desk.error(await desk.add("overflow-wrapped-by-aggregator-400"))
    assert "This model's maximum context length is 8192 tokens." in error["message"]
    assert "Provider returned error" not in error["message"]


async def test_an_expired_key_of_the_backend_does_not_read_as_the_callers(desk: Desk) -> None:
    status, error = await desk.error(await desk.add("key-expired-400"))
    assert status >= 500
    assert error["code"] == "upstream_authentication_failed"


async def test_a_model_that_loads_says_each_time_how_long(desk: Desk) -> None:
    model = await desk.add("loading-503")
    for _ in range(6):
        response = await desk.ask(model)
        assert (response.status_code, response.headers["retry-after"]) == (503, "3")
        await asyncio.sleep(0.1)


async def test_a_wait_in_words_becomes_a_header(desk: Desk) -> None:
    response = await desk.ask(await desk.add("wait-in-minutes-429"))
    assert response.status_code == 429
    assert 290 <= int(response.headers["retry-after"]) <= 300


# --- refusals of one request


async def test_a_flagged_input_is_nobody_elses_matter(desk: Desk) -> None:
    model = await desk.add("flagged-input-403")
    for _ in range(6):
        status, error = await desk.error(model, messages=[{"role": "user", "content": "FLAG"}])
        assert status in {400, 403}
        assert "Your input was flagged." in error["message"]
    assert await desk.answer(model) == "PLAIN"


async def test_too_few_credits_concern_the_long_answer_alone(desk: Desk) -> None:
    route = await desk.route("too-few-credits-402")
    for _ in range(3):
        assert await desk.answer(route, max_tokens=65536) == "FALLBACK"
    assert await desk.answer("too-few-credits-402/m", max_tokens=100) == "PLAIN"


async def test_images_that_a_server_cannot_take_do_not_count_against_it(desk: Desk) -> None:
    model = await desk.add("image-refused-500")
    for _ in range(5):
        status, error = await desk.error(model, messages=with_image())
        assert status == 400
        assert "image input is not supported" in error["message"]
    assert await desk.answer(model) == "PLAIN"


async def test_tools_that_a_server_cannot_take_do_not_count_against_it(desk: Desk) -> None:
    model = await desk.add("tools-refused-500")
    for _ in range(5):
        status, error = await desk.error(model, tools=TOOLS)
        assert status == 400
        assert "tools param requires --jinja flag" in error["message"]
    assert await desk.answer(model) == "PLAIN"


async def test_a_question_with_tools_falls_back_and_one_without_does_not(desk: Desk) -> None:
    route = await desk.route("tools-refused-404")
    assert await desk.answer(route, tools=TOOLS) == "FALLBACK"
    assert await desk.answer(route) == "PLAIN"


@pytest.mark.parametrize("name", ["tools-refused-404", "tools-refused-500"])
async def test_the_chat_asks_again_without_tools(desk: Desk, name: str) -> None:
    async with desk.chat(await desk.add(name)) as chat:
        page = await chat.say()
        assert page.last_status == "done"
        assert await chat.parts() == [("text", "PLAIN")]


async def test_an_embedding_that_is_too_long_is_the_callers(desk: Desk) -> None:
    model = await desk.add("embedding-input-too-large-500")
    for _ in range(5):
        response = await desk.api.post("embeddings", {"model": model, "input": "word word word"})
        assert (response.status_code, response.json()["error"]["code"]) == (400, "context_length_exceeded")
    response = await desk.api.post("embeddings", {"model": model, "input": "ok"})
    assert response.json()["data"][0]["embedding"] == [0.5]


# --- repairs of requests


async def test_max_tokens_is_sent_again_as_max_completion_tokens(desk: Desk) -> None:
    model = await desk.add("max-tokens-parameter-refused")
    assert (await desk.stream(model, max_tokens=100)).text == "PLAIN"
    assert await desk.answer(model, max_tokens=100) == "PLAIN"
    sent = desk.server.requests["max-tokens-parameter-refused"]
    assert [("max_tokens" in body, body.get("max_completion_tokens")) for body in sent] == [(True, None), (False, 100), (False, 100)]


async def test_a_role_that_a_server_does_not_know_is_sent_again_as_one_it_knows(desk: Desk) -> None:
    model = await desk.add("developer-role-422")
    messages = [{"role": "developer", "content": "Be brief."}, *ASK]
    for _ in range(2):
        assert await desk.answer(model, messages=messages) == "PLAIN"
    roles = [body["messages"][0]["role"] for body in desk.server.requests["developer-role-422"]]
    assert roles == ["developer", "system", "system"]


async def test_a_temperature_that_a_model_does_not_take_is_left_out(desk: Desk) -> None:
    assert await desk.answer(await desk.route("temperature-unsupported-400"), temperature=0.7) == "PLAIN"


async def test_embeddings_in_base64_come_from_a_server_that_has_numbers_only(desk: Desk) -> None:
    model = await desk.add("base64-embeddings-refused")
    response = await desk.api.post("embeddings", {"model": model, "input": "x", "encoding_format": "base64"})
    assert response.status_code == 200, response.text
    assert struct.unpack("<2f", base64.b64decode(response.json()["data"][0]["embedding"])) == (0.5, 0.25)


# --- streams and whole answers


async def test_broken_utf8_is_replaced_and_the_stream_goes_on(desk: Desk) -> None:
    model = await desk.add("broken-utf8")
    streamed = await desk.stream(model)
    assert streamed.text in {"a\ufffdb", "a\ufffd\ufffdb"}
    async with desk.chat(model) as chat:
        assert (await chat.say()).last_status == "done"
        assert (await chat.parts())[0][1].replace("\ufffd", "") == "ab"


async def test_done_without_a_finish_reason_ends_the_answer(desk: Desk) -> None:
    model = await desk.add("done-without-finish-reason")
    for _ in range(6):
        streamed = await desk.stream(model)
        assert (streamed.text, streamed.finish_reasons) == ("Hello", ["stop"])
        assert streamed.events.count("[DONE]") == 1
        assert streamed.events[-1] == "[DONE]"
        assert streamed.events[-2]["choices"][0]["finish_reason"] == "stop"
    async with desk.chat(model) as chat:
        assert (await chat.say()).last_status == "done"


async def test_an_emoji_in_two_halves_is_one(desk: Desk) -> None:
    model = await desk.add("emoji-in-two-halves")
    assert (await desk.stream(model)).text == "a\U0001f600b"
    assert await desk.answer(model) == "cut \ufffd"
    async with desk.chat(model) as chat:
        assert (await chat.say()).last_status == "done"
        assert await chat.parts() == [("text", "a\U0001f600b")]


async def test_a_legacy_function_call_comes_back_as_it_came(desk: Desk) -> None:
    model = await desk.add("function-call-legacy")
    functions = [{"name": "f", "parameters": {"type": "object", "properties": {}}}]
    choice = (await desk.ask(model, functions=functions)).json()["choices"][0]
    assert choice["message"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert choice["finish_reason"] == "function_call"
    assert "tool_calls" not in choice["message"]
    streamed = await desk.stream(model, functions=functions)
    assert streamed.chunks[0]["choices"][0]["delta"]["function_call"] == {"name": "f", "arguments": '{"a":1}'}
    assert streamed.finish_reasons == ["function_call"]


async def test_a_function_name_in_pieces_is_one_name(desk: Desk) -> None:
    streamed = await desk.stream(await desk.add("function-name-in-pieces"), tools=TOOLS)
    assert streamed.calls == {0: {"name": "get_weather", "arguments": "{}"}}


async def test_a_tool_call_that_is_repeated_at_the_end_is_one(desk: Desk) -> None:
    streamed = await desk.stream(await desk.add("tool-call-repeated-at-the-end"), tools=TOOLS)
    assert streamed.calls == {0: {"name": "f", "arguments": '{"q":"a"}'}}
    assert streamed.finish_reasons == ["tool_calls"]


async def test_an_odd_finish_reason_is_stop_and_error_is_a_failure(desk: Desk) -> None:
    route = await desk.route("unusual-finish-reasons")
    response = await desk.ask(route)
    assert response.json()["choices"][0]["finish_reason"] == "stop"
    assert (await desk.stream(route)).finish_reasons == ["stop"]
    assert await desk.answer(route, messages=[{"role": "user", "content": "ERR"}]) == "FALLBACK"


async def test_think_tags_are_reasoning_in_the_chat(desk: Desk) -> None:
    async with desk.chat(await desk.add("think-tags-in-content")) as chat:
        for _ in range(2):
            page = await chat.say()
            assert page.last_status == "done"
            kinds = await chat.parts()
            assert [(kind, text.strip()) for kind, text in kinds] == [("reasoning", "secret plan"), ("text", "Visible answer")]
            assert "think&gt;" not in page.html
    asked = [body for body in desk.server.requests["think-tags-in-content"] if body.get("stream")]
    assert "secret plan" not in json.dumps(asked)


async def test_thinking_parts_are_reasoning_and_stop_the_first_token_clock(desk: Desk) -> None:
    route = await desk.route("thinking-parts", first_token_timeout=2.0)
    streamed = await desk.stream(route)
    assert streamed.text == "Answer"
    async with desk.chat("thinking-parts/m") as chat:
        await chat.say()
        assert await chat.parts() == [("reasoning", "hm more"), ("text", "Answer")]


# --- requests that servers accept


@pytest.mark.parametrize("name", ACCEPTED)
async def test_a_request_that_servers_accept_is_passed_on(desk: Desk, name: str) -> None:
    model = await desk.add("requests-servers-accept")
    body = {"messages": ASK, **ACCEPTED[name]}
    response = await desk.ask(model, **body)
    assert response.status_code == 200, response.text
    assert "null" not in json.dumps(desk.server.requests["requests-servers-accept"][-1])


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("embeddings", {"input": list(range(3000))}),
        ("embeddings", {"input": "x", "encoding_format": None}),
        ("completions", {"prompt": list(range(3000))}),
    ],
)
async def test_token_arrays_of_any_length_and_nulls_are_passed_on(desk: Desk, path: str, fields: dict[str, Any]) -> None:
    response = await desk.api.post(path, {"model": await desk.add("requests-servers-accept"), **fields})
    assert response.status_code == 200, response.text


# --- set-up


@pytest.mark.django_db(transaction=True)
def test_a_bare_list_of_models_is_read(dialect_server: Any) -> None:
    url = f"http://127.0.0.1:{dialect_server.server_port}/model-list-without-object/v1"
    call_command("add_backend", name="bare", base_url=url, api_key="k")
    assert sorted(Backend.objects.get(name="bare").offered.values_list("name", flat=True)) == ["a/b", "c"]
    async_to_sync(registry.aclose)()


async def test_nothing_that_one_user_sends_cools_anything(desk: Desk) -> None:
    """Every refusal of a request, five times each, leaves each backend to the others."""
    refused: list[tuple[str, dict[str, Any]]] = [
        ("flagged-input-403", {"messages": [{"role": "user", "content": "FLAG"}]}),
        ("image-refused-500", {"messages": with_image()}),
        ("no-images-allowed-400", {"messages": with_image()}),
        ("tools-refused-404", {"tools": TOOLS}),
        ("tools-refused-500", {"tools": TOOLS}),
        ("too-few-credits-402", {"max_tokens": 65536}),
        ("tokens-per-minute-413", {}),
        *((name, {}) for name in OVERFLOWS),
    ]
    for name, fields in refused:
        model = await desk.add(name)
        for _ in range(5):
            assert (await desk.ask(model, **fields)).status_code in range(400, 500)
    assert cooling() == {}
    assert not await Cooldown.objects.aexists()
