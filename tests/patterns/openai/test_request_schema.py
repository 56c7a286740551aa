"""The check of request bodies against OpenAI's published schema."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.errors import InputError
from webapp.patterns.openai.request_schema import RESERVED, check_body

USER = {"role": "user", "content": "hi"}


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **fields}


def refused(body: Any, path: str = "chat/completions") -> InputError:
    with pytest.raises(InputError) as caught:
        check_body(body, path)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": "hot"}, "temperature", "invalid_type"),
        ({"temperature": True}, "temperature", "invalid_type"),
        ({"n": 0}, "n", "integer_below_min_value"),
        ({"n": 1.5}, "n", "invalid_type"),
        ({"max_completion_tokens": "many"}, "max_completion_tokens", "invalid_type"),
        ({"stream": "yes"}, "stream", "invalid_type"),
        ({"stream_options": {"include_usage": 1}}, "stream_options.include_usage", "invalid_type"),
        ({"stop": [1]}, "stop", "invalid_type"),
        ({"messages": []}, "messages", "empty_array"),
        ({"messages": "hi"}, "messages", "invalid_type"),
        ({"messages": None}, "messages", "invalid_type"),
        ({"messages": ["hi"]}, "messages[0]", "invalid_type"),
        ({"messages": [USER, {"content": "x"}]}, "messages[1].role", "missing_required_parameter"),
        ({"messages": [{"role": "user"}]}, "messages[0].content", "missing_required_parameter"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content", "invalid_type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text", "missing_required_parameter"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id", "missing_required_parameter"),
        ({"model": ""}, "model", "empty_string"),
        ({"model": None}, "model", "invalid_type"),
        ({"tools": [{"type": "function"}]}, "tools[0].function", "missing_required_parameter"),
        ({"tools": [{"type": "function", "function": {}}]}, "tools[0].function.name", "missing_required_parameter"),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema", "missing_required_parameter"),
        ({"response_format": "json_object"}, "response_format", "invalid_type"),
    ],
)
def test_a_known_parameter_of_wrong_type_is_refused_by_name(fields: dict[str, Any], param: str, code: str) -> None:
    error = refused(chat(**fields))
    assert (error.param, error.code) == (param, code)
    assert f"'{param}'" in error.message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"temperature": None, "stop": None, "n": None, "stream": None, "max_tokens": None},
        {"temperature": 0, "top_p": 1, "n": 128, "stop": ["a", "b", "c", "d"], "seed": -(2**63)},
        {"messages": [{"role": "assistant", "content": None, "tool_calls": None}, USER]},
        {"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {"url": "x"}}]}]},
        {"guided_regex": "[a-z]+", "top_k": -1, "chat_template_kwargs": {"enable_thinking": False}},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": []},
        {"messages": [{"role": "user", "content": "{{7*7}} {0.__class__}"}]},
        {"temperature": 2.5, "top_p": 1.1, "presence_penalty": 3, "n": 200, "top_logprobs": 40, "logprobs": 5},
        {"max_tokens": -1, "max_completion_tokens": 0, "seed": -1},
        {"stop": ["a", "b", "c", "d", "e"], "tools": [{"type": "function", "function": {"name": "f"}}] * 200, "tool_choice": "any"},
        {"logit_bias": [[50256, False]], "metadata": {"a": 1}, "reasoning_effort": "maximal", "user": 7},
        {"tools": None, "tool_choice": None, "response_format": None, "user": None, "parallel_tool_calls": None, "functions": None},
        {"response_format": {"type": "grammar", "grammar": "root ::= x"}},
        {"messages": [{"role": "ipython", "content": "x"}, {"role": "user", "content": None, "name": None}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png;base64,AA=="}]}]},
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x", "detail": None}}]}]},
    ],
)
def test_what_the_schema_allows_and_what_it_does_not_know_passes(fields: dict[str, Any]) -> None:
    check_body(chat(**fields), "chat/completions")


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
def test_a_body_that_is_no_object_is_refused(body: Any) -> None:
    """FAULTS 23."""
    assert refused(body).message == "The body must be a JSON object."


@pytest.mark.parametrize("name", RESERVED)
def test_a_body_may_not_say_where_it_goes_or_with_which_key(name: str) -> None:
    """FAULTS 13."""
    assert refused(chat(**{name: "http://evil.example"})).param == name


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": []}, "input"),
        ({"input": ""}, "input"),
        ({"input": ["a", 1]}, "input[1]"),
        ({"input": {"text": "a"}}, "input"),
        ({"input": None}, "input"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
    ],
)
def test_a_wrong_embedding_request_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    assert refused({"model": "m", **fields}, "embeddings").param == param


@pytest.mark.parametrize("value", ["a", ["a", "b"], [1, 2], [[1], [2, 3]], ["a"] * 5000, list(range(5000))])
def test_every_shape_of_embedding_input_passes(value: Any) -> None:
    check_body({"model": "m", "input": value, "encoding_format": None}, "embeddings")
    check_body({"model": "m", "input": value, "encoding_format": "int8"}, "embeddings")


def test_what_is_missing_is_named() -> None:
    assert refused({"messages": [USER]}).param == "model"
    assert refused({"model": "m"}).param == "messages"
    assert refused({"model": "m"}, "completions").param == "prompt"
    assert refused({"endpoint": "/v1/embeddings", "completion_window": "24h"}, "batches").param == "input_file_id"
