"""The built-in backend's formats and errors."""

from __future__ import annotations

import json
from typing import Any, Literal

import openai
import pydantic
import pytest
from jsonschema import Draft202012Validator

from tests.builtin.talk import MODEL, REPORT, say, text_of


class Analysis(pydantic.BaseModel):
    summary: str
    confidence: float = pydantic.Field(ge=0, le=1)
    tags: list[str]
    kind: Literal["report", "invoice"]
    note: str | None


class TestFormats:
    async def test_a_schema_is_met(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.parse(
            model=MODEL, messages=[{"role": "user", "content": f"Analyze this report: {REPORT}"}], response_format=Analysis
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
            {"type": "string", "minLength": 400.0, "maxLength": 500.0},
            {"type": "array", "items": {"type": "string"}, "minItems": 7.0, "maxItems": 8.0},
            {"type": "array", "items": {"type": "number"}, "maxItems": 1.0},
            {"type": "array", "items": True, "minItems": 1},
            {"allOf": [True, {"type": "boolean"}]},
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
            ({"enum": []}, "found no value"),
            ({"type": "number", "minimum": 5, "multipleOf": 1e-320}, "so large or so small"),
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
            ({"n": 100}, 400, "n", "unsupported_value"),
            ({"stream": "yes"}, 400, "stream", "invalid_type"),
            ({"stream_options": {"include_usage": True}}, 400, "stream_options", None),
            ({"logprobs": True}, 400, "logprobs", "unsupported_value"),
            ({"tools": [{"type": "function"}]}, 400, "tools[0].function", "missing_required_parameter"),
            ({"tool_choice": "required"}, 400, "tool_choice", "invalid_value"),
            ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, 400, "tool_choice", "invalid_value"),
            ({"tool_choice": {"type": "function"}}, 400, "tool_choice", "invalid_value"),
            ({"response_format": {"type": "xml"}}, 400, "response_format.type", "unsupported_value"),
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
        [
            ("get", "/chat/completions", 405),
            ("post", "/models", 405),
            ("get", "/nothing", 404),
            ("post", "/nothing", 404),
            ("post", "/audio/speech", 501),
        ],
    )
    async def test_unknown_paths_and_methods_have_the_same_shape(
        self, client: openai.AsyncOpenAI, method: str, path: str, status: int
    ) -> None:
        with pytest.raises(openai.APIStatusError) as caught:
            await getattr(client, method)(path, cast_to=object)
        assert caught.value.status_code == status
        assert isinstance(caught.value.body, dict)
        assert set(caught.value.body) == {"message", "type", "param", "code"}
