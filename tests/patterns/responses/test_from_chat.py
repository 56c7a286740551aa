"""Chat completions for servers that speak Responses and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.responses_replies import breaks_off, responds, response
from tests.upstream import Upstream, says, status
from webapp.patterns import Chain, MemoryBreakers, OpenAIBackend, Request, Step, errors
from webapp.patterns.errors import InputError
from webapp.patterns.openai.exchange import translation_for
from webapp.patterns.responses.completions import to_completion
from webapp.patterns.responses.from_chat import from_chat
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import Usage

HELLO: Any = [{"role": "user", "content": "hi"}]
CHAT = Request.chat(HELLO, model="m")
ADD: dict[str, Any] = {"name": "add", "description": "Add.", "parameters": {"type": "object"}}
CALL = {"id": "call_0", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def told(text: str, role: str = "user") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}


def test_a_conversation_becomes_items() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "developer", "content": [{"type": "text", "text": "Really."}]},
        {"role": "user", "content": "add"},
        {"role": "assistant", "content": "Yes.", "tool_calls": [CALL, {"id": "broken"}]},
        {"role": "tool", "tool_call_id": "call_0", "content": [{"type": "text", "text": "2"}]},
        {"role": "system", "content": "Now stop."},
        {"role": "assistant", "content": None, "refusal": "No."},
        {"role": "assistant", "content": None},
    ]
    sent = from_chat({"model": "m", "messages": messages})
    assert sent["instructions"] == "Be brief.\n\nReally."
    assert sent["store"] is False
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Yes.", "annotations": []}]}
    refused = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "No.", "annotations": []}]}
    assert sent["input"] == [
        told("add"),
        said,
        {"type": "function_call", "call_id": "call_0", "name": "add", "arguments": '{"a": 1}'},
        {"type": "function_call_output", "call_id": "call_0", "output": "2"},
        told("Now stop.", "system"),
        refused,
    ]


def test_a_conversation_of_instructions_alone_is_input() -> None:
    sent = from_chat({"messages": [{"role": "system", "content": "Say hi."}]})
    assert (sent["input"], "instructions" in sent) == ([told("Say hi.", "system")], False)
    assert from_chat({})["input"] == []


def test_images_files_and_sound_become_parts() -> None:
    content = [
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"file_id": "file-1", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    assert from_chat({"messages": [{"role": "user", "content": content}]})["input"][0]["content"] == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA==", "detail": "low"},
        {"type": "input_image", "image_url": "https://x/y.png", "detail": "auto"},
        {"type": "input_file", "file_id": "file-1", "filename": "a.pdf"},
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
    ]
    with pytest.raises(InputError, match="video"):
        from_chat({"messages": [{"role": "user", "content": [{"type": "video"}]}]})


def test_parameters_take_the_names_of_the_protocol() -> None:
    body = {
        "messages": HELLO, "max_tokens": 5, "reasoning_effort": "low", "temperature": 0.5, "top_p": None, "seed": 1, "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}, "strict": True}},
    }  # fmt: skip
    sent = from_chat(body)
    assert (sent["max_output_tokens"], sent["reasoning"], sent["temperature"]) == (5, {"effort": "low"}, 0.5)
    assert sent["text"] == {"verbosity": "low", "format": {"type": "json_schema", "name": "a", "schema": {}, "strict": True}}
    assert not {"top_p", "seed", "max_tokens", "messages"} & sent.keys()
    assert from_chat({"messages": HELLO, "max_completion_tokens": 7, "max_tokens": 5})["max_output_tokens"] == 7
    assert from_chat({"messages": HELLO, "response_format": {"type": "json_object"}})["text"] == {"format": {"type": "json_object"}}
    assert "text" not in from_chat({"messages": HELLO, "response_format": {"type": "text"}})


@pytest.mark.parametrize(
    ("choice", "sent"),
    [("required", "required"), ({"type": "function", "function": {"name": "add"}}, {"type": "function", "name": "add"}), ({}, None)],
)
def test_tools_are_flat_and_say_whether_they_are_strict(choice: Any, sent: Any) -> None:
    tools = [{"type": "function", "function": ADD}, {"type": "function", "function": {"name": "now", "strict": True}}, {"type": "custom"}]
    body = from_chat({"messages": HELLO, "tools": tools, "tool_choice": choice})
    assert body["tools"] == [
        {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False, "description": "Add."},
        {"type": "function", "name": "now", "parameters": {"type": "object", "properties": {}}, "strict": True},
    ]
    assert body.get("tool_choice") == sent
    assert from_chat({"messages": HELLO, "functions": [ADD]})["tools"][0]["name"] == "add"


@pytest.mark.parametrize("field", [{"n": 2}, {"logprobs": True}, {"stop": ["x"]}, {"audio": {"voice": "a"}}])
def test_what_the_protocol_cannot_do_is_refused(field: Any) -> None:
    with pytest.raises(InputError):
        from_chat({"messages": HELLO, **field})


@pytest.mark.parametrize(
    ("capabilities", "protocol"),
    [
        ({"responses": True}, ""),
        ({"chat_completions": False}, ""),
        ({"chat_completions": False, "responses": True}, "responses"),
        ({"chat_completions": False, "responses": True, "messages": True}, "messages"),
    ],
)
def test_only_a_server_without_chat_completions_gets_a_translation(capabilities: Any, protocol: str) -> None:
    assert translation_for("chat/completions", capabilities) == protocol
    assert translation_for("embeddings", capabilities) == ""


@pytest.fixture
async def backend(upstream: Upstream) -> AsyncIterator[OpenAIBackend]:
    """A backend that speaks Responses only."""
    upstream.paths["/v1/responses"] = responds("Hello from Responses.", reasoning="hm")
    capabilities = {"responses": True, "chat_completions": False}
    async with OpenAIBackend("only", upstream.base_url, api_key="key-123", capabilities=capabilities) as backend:
        yield backend


async def accumulated(backend: OpenAIBackend, request: Request = CHAT) -> tuple[Accumulator, bytes]:
    said, raw = Accumulator(), b""
    async for chunk in backend.stream(request):
        assert chunk.protocol == ""
        said.add_packet(chunk)
        raw += chunk.raw
    return said, raw


async def test_a_whole_answer_is_a_chat_completion(backend: OpenAIBackend, upstream: Upstream) -> None:
    answer = await backend.send(CHAT)
    assert (answer.text, answer.protocol, answer.usage) == ("Hello from Responses.", "", Usage(9, 4, cached_tokens=2))
    assert answer.body["choices"][0]["message"]["reasoning_content"] == "hm"
    assert answer.body["choices"][0]["finish_reason"] == "stop"
    assert upstream.requests[0].path == "/v1/responses"
    assert upstream.requests[0].body == {"model": "m", "store": False, "input": [told("hi")]}


async def test_a_stream_is_one_of_chat_chunks(backend: OpenAIBackend) -> None:
    said, raw = await accumulated(backend, CHAT.with_options(stream_options={"include_usage": True}))
    assert (said.text, said.reasoning, said.finish_reason) == ("Hello from Responses.", "hm", "stop")
    assert said.usage == Usage(9, 4, cached_tokens=2)
    assert raw.endswith(b"data: [DONE]\n\n")
    assert b'"prompt_tokens":9' in raw
    assert b"event:" not in raw


async def test_calls_come_back_whole_and_streamed(backend: OpenAIBackend, upstream: Upstream) -> None:
    upstream.paths["/v1/responses"] = responds(tools=[("add", '{"a": 1}'), ("add", '{"a": 2}')])
    said, _ = await accumulated(backend)
    whole = (await backend.send(CHAT)).body["choices"][0]
    assert [(call.id, call.name, call.arguments) for call in said.tool_calls] == [
        ("call_0", "add", '{"a": 1}'),
        ("call_1", "add", '{"a": 2}'),
    ]
    assert [call.as_message_part() for call in said.tool_calls] == whole["message"]["tool_calls"]
    assert said.finish_reason == whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] is None


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
async def test_an_incomplete_answer_says_why(backend: OpenAIBackend, upstream: Upstream, reason: str, finish: str) -> None:
    upstream.paths["/v1/responses"] = responds("Half", status="incomplete", incomplete_details={"reason": reason})
    assert (await accumulated(backend))[0].finish_reason == finish
    assert (await backend.send(CHAT)).body["choices"][0]["finish_reason"] == finish


async def test_a_refusal_comes_as_a_refusal(backend: OpenAIBackend, upstream: Upstream) -> None:
    part = {"type": "refusal", "refusal": "I will not."}
    item = {"id": "m", "type": "message", "role": "assistant", "content": [part]}
    upstream.paths["/v1/responses"] = response({"status": "completed", "output": [item]})
    said, raw = await accumulated(backend)
    assert said.refusal == "I will not."
    assert b'"refusal":"I will not."' in raw
    assert (await backend.send(CHAT)).body["choices"][0]["message"]["refusal"] == "I will not."


async def test_a_failure_in_the_middle_is_one_of_the_stream(backend: OpenAIBackend, upstream: Upstream) -> None:
    upstream.paths["/v1/responses"] = breaks_off("Hel")
    with pytest.raises(errors.BackendError, match="GPU fell over"):
        await accumulated(backend)


@pytest.mark.parametrize("body", [{"status": "failed", "output": [], "error": {"message": "No."}}, {"object": "nothing"}])
async def test_what_is_no_answer_is_a_bad_one(backend: OpenAIBackend, upstream: Upstream, body: Any) -> None:
    upstream.paths["/v1/responses"] = status(200, body)
    for asked in (backend.send(CHAT), accumulated(backend)):
        with pytest.raises(errors.BackendError):
            await asked


async def test_a_whole_answer_is_streamed_where_the_server_did_not_stream(backend: OpenAIBackend, upstream: Upstream) -> None:
    content = [{"type": "output_text", "text": "Whole."}]
    item = {"type": "message", "role": "assistant", "content": content}
    upstream.paths["/v1/responses"] = status(200, {"status": "completed", "output": [item, "odd"]} | {"output": [item]})
    assert (await accumulated(backend))[0].text == "Whole."


async def test_what_the_protocol_cannot_do_goes_to_the_next_step(backend: OpenAIBackend, upstream: Upstream) -> None:
    upstream.default = says("From a chat server.")
    async with OpenAIBackend("chat", upstream.base_url) as other:
        chain = Chain("r", [Step(backend, "m"), Step(other, "m")], breakers=MemoryBreakers())
        assert (await chain.send(CHAT.with_options(stop=["x"]))).text == "From a chat server."
    with pytest.raises(errors.CapabilityMissing):
        await backend.send(CHAT.with_options(stop=["x"]))


async def test_models_are_listed_without_a_number(backend: OpenAIBackend, upstream: Upstream) -> None:
    await backend.models()
    assert "limit" not in upstream.requests[-1].query


def test_summaries_stand_for_reasoning_and_broken_items_are_passed_over() -> None:
    summary = [{"type": "summary_text", "text": "One."}, {"type": "summary_text", "text": "Two."}]
    output = [{"type": "reasoning", "summary": summary}, "odd", {"type": "message", "content": ["odd"]}]
    body = to_completion({"output": output})
    assert body["choices"][0]["message"] == {"role": "assistant", "content": "", "refusal": None, "reasoning_content": "One.\n\nTwo."}
    assert "usage" not in body
    assert to_completion({"output": [{"type": "function_call", "id": "fc", "name": "a"}]})["choices"][0]["message"]["tool_calls"] == [
        {"id": "fc", "type": "function", "function": {"name": "a", "arguments": ""}}
    ]
