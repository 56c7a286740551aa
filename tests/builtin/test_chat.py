"""The built-in backend, spoken to by the openai package itself."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx2
import openai
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openai.types.chat import ChatCompletion

from webapp.backends.toolbox import toolbox
from webapp.builtin.asgi import BuiltinBackend
from webapp.builtin.model import respond
from webapp.builtin.protocol import read_chat

MODEL = "patchbay-builtin"
REPORT = (
    "Patchbay is a console for model servers. It was made by a small team in 2025. The console streams answers over a websocket. "
    "Every answer passes through a chain of backends. When a backend fails, the next backend in the chain answers. "
    "Batches run on any backend. Search finds passages in documents. The weather was nice. Lunch was served at noon."
)
SEARCH: Any = {
    "type": "function",
    "function": {
        "name": "search_documents",
        "description": "Find passages.",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    },
}
CALCULATOR: Any = {
    "type": "function",
    "function": {
        "name": "calculator",
        "parameters": {"type": "object", "properties": {"expression": {"type": "string"}}, "required": ["expression"]},
    },
}


@pytest.fixture
async def client() -> AsyncIterator[openai.AsyncOpenAI]:
    transport = httpx2.ASGITransport(BuiltinBackend(pace=0))  # type: ignore[arg-type]  # its scope type is narrower
    async with openai.AsyncOpenAI(
        base_url="http://builtin/v1", api_key="none", max_retries=0, http_client=httpx2.AsyncClient(transport=transport)
    ) as client:
        yield client


async def say(client: openai.AsyncOpenAI, text: str, **options: Any) -> ChatCompletion:
    answer: ChatCompletion = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}], **options)
    return answer


async def text_of(client: openai.AsyncOpenAI, text: str, **options: Any) -> str:
    return (await say(client, text, **options)).choices[0].message.content or ""


class TestFirstMinute:
    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("What is 17*23?", "**391**"),
            ("what's 15% of 80", "**12**"),
            ("2+2", "**4**"),
            ("What is 1,234 * 2 and 3^4?", "**2468**\n3^4 = **81**"),
            ("square root of 16 plus 2", "**6**"),
            ("5!", "**120**"),
            ("12 divided by 5, please", "**2.4**"),
            ("1/0", "Division by zero"),
            ("hello", "Hello! I am **patchbay-builtin**"),
            ("", "Hello!"),
            ("Who are you?", "**not a language model**"),
            ("what can you do?", "**not a language model**"),
            ("How do I connect Ollama?", "add_backend --name ollama --base-url http://localhost:11434/v1"),
            ("openai?", "--api-key-env OPENAI_API_KEY"),
            ("how do I add a backend", "| vLLM | `http://localhost:8001/v1` |"),
            ("thanks!", "welcome"),
            ("bye", "Goodbye"),
            ("What is the capital of France?", "I cannot answer that"),
            ("2026-11-22", "I cannot answer that"),
            ("summarise", "after a colon"),
            ("Write a title for this chat: How to bake bread in a wood oven", "Bake bread wood oven"),
        ],
    )
    async def test_it_answers_sensibly(self, client: openai.AsyncOpenAI, question: str, answer: str) -> None:
        assert answer in await text_of(client, question)

    async def test_it_summarises_by_quoting(self, client: openai.AsyncOpenAI) -> None:
        answer = await text_of(client, f"Summarise in two sentences: {REPORT}")
        quoted = [line[2:] for line in answer.splitlines() if line.startswith("- ")]
        assert len(quoted) == 2
        assert all(sentence in REPORT for sentence in quoted)
        assert "When a backend fails, the next backend in the chain answers." in quoted

    async def test_it_finds_the_answer_in_a_pasted_text(self, client: openai.AsyncOpenAI) -> None:
        answer = await text_of(client, f"{REPORT}\n\nWhat was served at lunch?")
        assert answer.startswith("From the text above:\n\n> Lunch was served at noon.")

    async def test_it_finds_the_answer_in_an_earlier_message(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": [{"type": "text", "text": REPORT}]},
                {"role": "assistant", "content": "Noted."},
                {"role": "user", "content": "Which team made it?"},
            ],
        )
        assert "> It was made by a small team in 2025." in (answer.choices[0].message.content or "")


class TestTools:
    async def test_it_calls_the_calculator_and_reports_the_result(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 17*23?", tools=[SEARCH, CALCULATOR])
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == ("calculator", {"expression": "17*23"})
        final = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": "What is 17*23?"},
                choice.message.model_dump(exclude_none=True),  # type: ignore[list-item]  # as openai's guide does it
                {"role": "tool", "tool_call_id": call.id, "content": "391"},
            ],
            tools=[CALCULATOR],
        )
        assert final.choices[0].message.content == "17\\*23 = **391**"

    async def test_several_sums_are_several_calls_unless_one_is_wanted(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 2+3 and 4*5?", tools=[CALCULATOR])
        assert len(answer.choices[0].message.tool_calls or []) == 2
        answer = await say(client, "What is 2+3 and 4*5?", tools=[CALCULATOR], parallel_tool_calls=False)
        assert len(answer.choices[0].message.tool_calls or []) == 1

    async def test_questions_go_to_the_documents_and_come_back_quoted(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "How long is the warranty?", tools=[SEARCH, CALCULATOR])
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"query": "How long is the warranty?"}
        found = {"results": [{"text": "Two years, on\nall parts.", "title": "Warranty.pdf", "page": 3, "url": "/search/documents/7/"}]}
        final = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": "How long is the warranty?"},
                {"role": "assistant", "tool_calls": [call.model_dump()]},  # type: ignore[list-item]  # as openai's guide does it
                {"role": "tool", "tool_call_id": call.id, "content": json.dumps(found)},
            ],
            tools=[SEARCH],
        )
        said = final.choices[0].message.content or ""
        assert "> Two years, on all parts.\n>\n> — [Warranty.pdf](/search/documents/7/), page 3" in said

    @pytest.mark.parametrize(
        ("question", "tool", "arguments"),
        [
            ("What time is it?", "current_time", {}),
            ("How busy are the GPUs?", "get_gpu_metrics", {}),
            ("Which models are up?", "list_backends", {}),
            ("How are my batches doing?", "get_batch_status", {}),
            ("Please benchmark ollama/llama3.2!", "run_benchmark", {"model": "ollama/llama3.2"}),
            ("How fast is default?", "run_benchmark", {"model": "default"}),
        ],
    )
    async def test_it_knows_when_to_use_the_other_tools(
        self, client: openai.AsyncOpenAI, question: str, tool: str, arguments: dict[str, str]
    ) -> None:
        offered = [schema for schema in toolbox.schemas() if schema["function"]["name"] == tool] or [{**SEARCH, "function": {"name": tool}}]
        answer = await say(client, question, tools=[SEARCH, *offered])
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == (tool, arguments)

    async def test_a_question_that_brings_its_passages_is_answered_from_them(self, client: openai.AsyncOpenAI) -> None:
        question = (
            "How long is the warranty?\n\nAnswer from these passages, and cite them:\n\n"
            "[1] Lunch.md (/search/documents/1/?passage=1#passage)\n> Soup is served at noon.\n\n"
            "[2] Terms.pdf › Warranty (/search/documents/2/?passage=9#passage)\n> The warranty is\n> two years."
        )
        said = await text_of(client, question, tools=[SEARCH])
        assert "> The warranty is two years.\n>\n> — [Terms.pdf › Warranty](/search/documents/2/?passage=9#passage)" in said
        assert said.index("Terms") < said.index("Lunch")

    @pytest.mark.parametrize(
        ("tool", "content", "said"),
        [
            ("search_documents", "[]", "I found no passage"),
            ("search_documents", "null", "I found no passage"),
            ("search_documents", "", "I found no passage"),
            ("search_documents", "There are no documents.", "The search said: There are no documents."),
            ("search_documents", json.dumps([{"text": f"{REPORT} Dogs may come. {REPORT}", "document": "a[b]"}]), "> Dogs may come."),
            ("search_documents", json.dumps([{"text": "word " * 300}]), "word …\n>\n> — **passage 1**"),
            ("current_time", '{"time": "noon", "weekday": "Sunday"}', "- **weekday**: Sunday"),
            ("list_backends", '[{"model": "a|b", "up": true}, {"model": "c", "window": 9}]', "| a\\|b | true |  |\n| c |  | 9 |"),
            ("get_gpu_metrics", '{"gpus": []}', '```json\n{\n  "gpus": []\n}\n```'),
            ("calculator", "Division by zero has no value.", "dogs: Division by zero has no value."),
            ("anything", "It is done.", "`anything` says: It is done."),
        ],
    )
    async def test_it_tells_what_any_tool_said(self, client: openai.AsyncOpenAI, tool: str, content: str, said: str) -> None:
        arguments = json.dumps({"expression" if tool == "calculator" else "query": "dogs"})
        call = {"id": "a", "type": "function", "function": {"name": tool, "arguments": arguments}}
        messages: Any = [
            {"role": "user", "content": "Well?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": content},
        ]
        answer = await client.chat.completions.create(model=MODEL, messages=messages)
        assert said in (answer.choices[0].message.content or "")

    async def test_tool_choice_is_obeyed(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 2+3?", tools=[CALCULATOR], tool_choice="none")
        assert answer.choices[0].message.content == "2+3 = **5**"
        answer = await say(client, "hello", tools=[SEARCH], tool_choice="required")
        assert (answer.choices[0].message.tool_calls or [])[0].type == "function"
        named = {"type": "function", "function": {"name": "calculator"}}
        answer = await say(client, "hello", tools=[SEARCH, CALCULATOR], tool_choice=named)
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "calculator"


class Analysis(pydantic.BaseModel):
    summary: str
    confidence: float = pydantic.Field(ge=0, le=1)
    tags: list[str]
    kind: Literal["report", "invoice"]
    note: str | None


class TestFormats:
    async def test_a_schema_is_met(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": f"Analyse this report: {REPORT}"}], response_format=Analysis
        )
        parsed = answer.choices[0].message.parsed
        assert parsed
        assert parsed.kind == "report"
        assert "backend" in parsed.tags

    async def test_any_object_will_do_when_any_is_asked_for(self, client: openai.AsyncOpenAI) -> None:
        assert json.loads(await text_of(client, "2+2", response_format={"type": "json_object"})) == {"answer": "2+2 = 4"}

    @pytest.mark.parametrize(
        "schema",
        [
            {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "multipleOf": 7}}, "required": ["n"]},
            {"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"type": "array", "items": {"type": "number"}}}},
            {"type": "object", "properties": {"d": {"type": "string", "format": "date-time"}, "c": {"const": 4}}, "required": ["d", "c"]},
            {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "boolean"}}, "required": ["x"]}, "minItems": 2},
            {"anyOf": [{"type": "null"}, {"type": "string", "minLength": 500, "maxLength": 600}]},
            {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "null"}}}]},
            {"type": ["null", "number"], "exclusiveMinimum": 3, "exclusiveMaximum": 4},
            {"$ref": "#/$defs/Node", "$defs": {"Node": {"type": "object", "properties": {"next": {"$ref": "#/$defs/Node"}}}}},
            {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
            {"type": "array", "items": {"type": "string", "maxLength": 3}, "minItems": 9, "maxItems": 9},
            {"type": "object", "properties": {"pattern": {"type": "string"}}, "required": ["pattern"]},
            {"type": ["string", "null"], "enum": ["websocket", None]},
            {"enum": [3, 4]},
            {"type": "object", "properties": {"title": {"type": "string", "maxLength": 20}}, "required": ["title"]},
            {"type": "array", "items": {"type": "integer"}, "maxItems": 2},
            {"type": "number", "minimum": 2.5, "maximum": 3},
            {"type": "number", "maximum": -7},
            {"type": "boolean"},
            {"properties": {"a": {"items": {"minimum": 1}}}, "required": ["a"]},
            {"required": ["free"]},
        ],
    )
    async def test_schemas_of_many_kinds_are_met(self, client: openai.AsyncOpenAI, schema: dict[str, Any]) -> None:
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        value = json.loads(await text_of(client, f"Fill: {REPORT}", response_format=wanted))
        Draft202012Validator(schema).validate(value)

    @pytest.mark.parametrize(
        ("schema", "why"),
        [
            ({"not": {}}, "found no value"),
            ({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a+)+$"}}}, "patterns"),
            ({"anyOf": [{"patternProperties": {"^(a+)+$": {}}}]}, "patterns"),
            ({"type": "string", "minLength": 10**9}, "so much"),
            ({"type": "array", "items": {"type": "boolean"}, "minItems": 10**9}, "so much"),
            ({"allOf": [{"$ref": "#"}]}, "so much|refer to themselves"),
            ({"properties": {"a": {"$ref": "https://example.com/x.json"}}, "required": ["a"]}, "Invalid schema"),
            (
                {
                    "$ref": "#/$defs/n0",
                    "$defs": {
                        f"n{i}": {"properties": {k: {"$ref": f"#/$defs/n{i + 1}"} for k in "ab"}, "required": ["a", "b"]} for i in range(40)
                    },
                },
                "so much",
            ),
        ],
    )
    async def test_a_schema_it_cannot_meet_is_refused(self, client: openai.AsyncOpenAI, schema: dict[str, Any], why: str) -> None:
        wanted = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
        with pytest.raises(openai.BadRequestError, match=why):
            await say(client, "hello", response_format=wanted)


class TestStream:
    async def test_the_pieces_are_the_whole_answer_and_usage_comes_last(self, client: openai.AsyncOpenAI) -> None:
        whole = await say(client, "Who are you?")
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Who are you?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[0].choices[0].delta.role == "assistant"
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        assert text == whole.choices[0].message.content
        assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "stop"]
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
        assert len({chunk.id for chunk in chunks}) == 1

    async def test_no_usage_unless_asked(self, client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True)
        assert all([chunk.usage is None and chunk.choices async for chunk in stream])

    async def test_the_package_puts_streamed_calls_together(self, client: openai.AsyncOpenAI) -> None:
        messages: Any = [{"role": "user", "content": "What is 2+3 and 4*5?"}]
        async with client.chat.completions.stream(model=MODEL, messages=messages, tools=[CALCULATOR]) as stream:
            final = await stream.get_final_completion()
        calls = final.choices[0].message.tool_calls or []
        assert [json.loads(call.function.arguments)["expression"] for call in calls] == ["2+3", "4*5"]
        assert final.choices[0].finish_reason == "tool_calls"


class TestLimits:
    async def test_max_tokens_cuts_and_says_so(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "Who are you?", max_tokens=5)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage
        assert answer.usage.completion_tokens == 5
        assert answer.choices[0].message.content == "I am **patchbay-"

    async def test_max_tokens_cuts_inside_a_tool_call_too(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 2+3 and 4*5?", tools=[CALCULATOR], max_completion_tokens=3)
        assert answer.choices[0].finish_reason == "length"
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(call.function.arguments)

    async def test_it_stops_before_a_stop(self, client: openai.AsyncOpenAI) -> None:
        assert await text_of(client, "Who are you?", stop=["nothing like it", "**"]) == "I am "
        assert await text_of(client, "Who are you?", stop=" am") == "I"

    async def test_n_gives_that_many_choices(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "2+2", n=3)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert {choice.message.content for choice in answer.choices} == {"2+2 = **4**"}


class TestOtherEndpoints:
    async def test_plain_completions(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(model=MODEL, prompt=["2+2", "3*3"])
        assert [choice.text for choice in answer.choices] == ["2+2 = **4**", "3\\*3 = **9**"]
        stream = await client.completions.create(model=MODEL, prompt="2+2", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "2+2 = **4**"
        with pytest.raises(openai.BadRequestError, match="token ids"):
            await client.completions.create(model=MODEL, prompt=[1, 2])

    async def test_models_are_listed_and_found(self, client: openai.AsyncOpenAI) -> None:
        models = (await client.models.list()).data
        assert MODEL in [model.id for model in models]
        assert (await client.models.retrieve(MODEL)) in models
        with pytest.raises(openai.NotFoundError, match="nothing"):
            await client.models.retrieve("nothing")


GOOD: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "2+2"}]}
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
CALLING = {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}


class TestErrors:
    @pytest.mark.parametrize(
        ("change", "status", "param", "code"),
        [
            ({"model": None}, 400, "model", "missing_required_parameter"),
            ({"model": 3}, 400, "model", "missing_required_parameter"),
            ({"model": "gpt-9"}, 404, "model", "model_not_found"),
            ({"messages": None}, 400, "messages", "missing_required_parameter"),
            ({"messages": "hi"}, 400, "messages", "invalid_type"),
            ({"messages": []}, 400, "messages", "empty_array"),
            ({"messages": ["hi"]}, 400, "messages[0]", "invalid_type"),
            ({"messages": [{"role": "king", "content": ""}]}, 400, "messages[0].role", "invalid_value"),
            ({"messages": [{"role": "user"}]}, 400, "messages[0].content", "missing_required_parameter"),
            (
                {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
                400,
                "messages[0].content[0].text",
                "missing_required_parameter",
            ),
            ({"messages": [{"role": "user", "content": [IMAGE]}]}, 400, "messages[0].content[0]", "unsupported_value"),
            ({"messages": [{"role": "tool", "content": ""}]}, 400, "messages[0].tool_call_id", "missing_required_parameter"),
            ({"messages": [{"role": "tool", "tool_call_id": "a", "content": ""}]}, 400, "messages[0].role", None),
            ({"messages": [CALLING]}, 400, "messages", None),
            ({"messages": [CALLING, {"role": "user", "content": ""}]}, 400, "messages", None),
            ({"messages": [{"role": "assistant", "tool_calls": 1}]}, 400, "messages[0].tool_calls", "invalid_type"),
            ({"messages": [{"role": "user", "content": "word " * 40_000}]}, 400, "messages", "context_length_exceeded"),
            ({"max_tokens": 0}, 400, "max_tokens", "integer_below_min_value"),
            ({"n": 100}, 400, "n", "unsupported_value"),
            ({"temperature": 3}, 400, "temperature", "decimal_above_max_value"),
            ({"stream": "yes"}, 400, "stream", "invalid_type"),
            ({"stream_options": {"include_usage": True}}, 400, "stream_options", None),
            ({"stop": ["a"] * 5}, 400, "stop", "array_above_max_length"),
            ({"logprobs": True}, 400, "logprobs", "unsupported_value"),
            ({"tools": [{"type": "function"}]}, 400, "tools[0].function", "missing_required_parameter"),
            ({"tool_choice": "required"}, 400, "tool_choice", "invalid_value"),
            ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, 400, "tool_choice", "invalid_value"),
            ({"tool_choice": {"type": "function"}}, 400, "tool_choice", "invalid_value"),
            ({"response_format": {"type": "xml"}}, 400, "response_format.type", "invalid_value"),
            ({"response_format": {"type": "structural_tag"}}, 400, "response_format.type", "unsupported_value"),
            ({"response_format": {"type": "json_schema"}}, 400, "response_format.json_schema", "missing_required_parameter"),
            (
                {"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "thing"}}}},
                400,
                "response_format.json_schema.schema",
                "invalid_json_schema",
            ),
        ],
    )
    async def test_bad_input_is_named(self, client: openai.AsyncOpenAI, change: Any, status: int, param: str, code: str | None) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            await client.post("/chat/completions", body={**GOOD, **change}, cast_to=object)
        assert caught.value.status_code == status
        body = caught.value.body
        assert isinstance(body, dict)
        assert set(body) == {"message", "type", "param", "code"}
        assert (body["type"], body["param"], body["code"]) == ("invalid_request_error", param, code)

    async def test_unknown_fields_and_nulls_are_accepted(self, client: openai.AsyncOpenAI) -> None:
        extra = {"foo": 1, "temperature": None, "tools": None, "stop": None, "n": None, "stream": None, "seed": 3}
        assert await text_of(client, "2+2", extra_body=extra) == "2+2 = **4**"

    @pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b"\xff", b'{"a": NaN}', b"[" * 10_000])
    async def test_what_is_no_json_object_is_refused(self, client: openai.AsyncOpenAI, body: bytes) -> None:
        with pytest.raises(openai.BadRequestError) as caught:
            await client.post("/chat/completions", content=body, cast_to=object)
        assert isinstance(caught.value.body, dict)

    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [("get", "/chat/completions", 405), ("post", "/models", 405), ("get", "/nothing", 404), ("post", "/audio/speech", 404)],
    )
    async def test_unknown_paths_and_methods_have_the_same_shape(
        self, client: openai.AsyncOpenAI, method: str, path: str, status: int
    ) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            await getattr(client, method)(path, cast_to=object)
        assert caught.value.status_code == status
        assert isinstance(caught.value.body, dict)
        assert set(caught.value.body) == {"message", "type", "param", "code"}


class TestAnyText:
    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=400) | st.text(alphabet="1+= x.,!?()[]>#:-\n%of and summarise title", max_size=1500))
    def test_any_message_has_an_answer(self, text: str) -> None:
        ask = read_chat({"model": MODEL, "messages": [{"role": "user", "content": text}], "tools": [SEARCH, CALCULATOR]})
        reply = respond(ask)
        assert reply.text or reply.calls

    @pytest.mark.parametrize(
        "text",
        [
            "1" + "=" * 1990 + "x",
            "1% of " * 300,
            "1" * 1990 + "x",
            "1" + "!" * 1990,
            "(" * 900 + "1",
            "square root of " * 120 + "1",
            "so " * 600 + "1",
            "what is " * 3000,
            "add " * 6000,
            "title " * 6000,
            "summarise: " * 3000,
            "\"'" * 15_000,
            "\n " * 9000 + "x",
            "[1] (" * 4000,
            "[1] a\n" + ">\n" * 9000,
            "a" * 200_000,
        ],
    )
    def test_no_message_takes_long(self, text: str) -> None:
        started = time.perf_counter()
        respond(read_chat({"model": MODEL, "messages": [{"role": "user", "content": text}], "tools": [SEARCH]}))
        assert time.perf_counter() - started < 1
