"""Requests adapted to what a server takes, and whole answers mended."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.patterns.openai.normalize import as_stream, encoded, normalize_request, normalize_response

PARTS = [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
IMAGE = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "data:"}}]


def sent(body: dict[str, Any], *, stream: bool = False, **capabilities: bool) -> dict[str, Any]:
    return normalize_request(body, stream=stream, capabilities=capabilities)


def test_the_callers_body_is_left_as_it_is() -> None:
    body = {"messages": [{"role": "developer", "content": PARTS, "name": None}], "temperature": None, "stream": True}
    before = json.dumps(body)
    sent(body, stream=True, developer_role=False, content_parts=False)
    assert json.dumps(body) == before


def test_explicit_nulls_are_left_out_but_for_content() -> None:
    message = {"role": "assistant", "content": None, "refusal": None, "tool_calls": [{"id": "a"}]}
    assert sent({"messages": [message], "seed": None, "user": "u"}) == {
        "messages": [{"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}],
        "user": "u",
    }


@pytest.mark.parametrize("known", [{}, {"developer_role": True}])
def test_the_developer_role_is_mapped_only_where_it_is_known_to_fail(known: dict[str, bool]) -> None:
    body = {"messages": [{"role": "developer", "content": "x", "name": None}, {"role": "user", "content": "y"}, "odd"]}
    assert sent(body, **known)["messages"][0]["role"] == "developer"
    assert sent(body, developer_role=False)["messages"] == [{"role": "system", "content": "x"}, {"role": "user", "content": "y"}, "odd"]


def test_text_parts_are_joined_for_a_server_that_takes_only_text() -> None:
    body = {"messages": [{"role": "user", "content": PARTS}, {"role": "user", "content": IMAGE}]}
    assert [message["content"] for message in sent(body)["messages"]] == [PARTS, IMAGE]
    assert [message["content"] for message in sent(body, content_parts=False)["messages"]] == ["a\nb", IMAGE]


def test_streams_ask_for_usage_where_the_server_takes_that() -> None:
    assert sent({}, stream=True) == {"stream": True, "stream_options": {"include_usage": True}}
    assert sent({"stream_options": {"x": 1}}, stream=True)["stream_options"] == {"x": 1, "include_usage": True}
    assert sent({"stream_options": {"x": 1}}, stream=True, stream_usage=False) == {"stream": True}
    assert sent({"stream": True, "stream_options": {}}) == {}


def test_parallel_tool_calls_is_left_out_where_it_is_unknown() -> None:
    body = {"parallel_tool_calls": True}
    assert sent(body) == body
    assert sent(body, parallel_tools=False) == {}


def test_lone_surrogates_are_sent_as_escapes() -> None:
    assert encoded({"a": "é"}) == '{"a":"é"}'.encode()
    assert encoded({"a": "\ud83d"}) == b'{"a":"\\ud83d"}'


CALL = {"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("choice", "mended"),
    [
        ({"message": {"content": "x"}, "finish_reason": "tool_calls"}, {"message": {"content": "x"}, "finish_reason": "stop"}),
        ({"message": {"tool_calls": [CALL]}, "finish_reason": "stop"}, {"message": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}),
        (
            {"message": {"function_call": {"name": "f", "arguments": {}}}, "finish_reason": "tool_calls"},
            {"message": {"tool_calls": [{**CALL, "id": "?"}]}, "finish_reason": "tool_calls"},
        ),
        (
            {"message": {"tool_calls": {"id": "a", "function": {"name": "f", "arguments": {}}}}, "finish_reason": "length"},
            {"message": {"tool_calls": [CALL]}, "finish_reason": "length"},
        ),
    ],
)
def test_whole_answers_are_mended(choice: dict[str, Any], mended: dict[str, Any]) -> None:
    body = {"choices": [choice]}
    assert normalize_response(body)
    for call in body["choices"][0]["message"].get("tool_calls") or ():
        call["id"] = call["id"] if len(call["id"]) == 1 else "?"
    assert body["choices"][0] == mended


@pytest.mark.parametrize(
    "body",
    [{}, {"choices": None}, {"choices": ["odd", {"message": None}, {"message": {"tool_calls": [CALL]}, "finish_reason": "tool_calls"}]}],
)
def test_what_is_whole_is_left_alone(body: dict[str, Any]) -> None:
    before = json.dumps(body)
    assert not normalize_response(body)
    assert json.dumps(body) == before


def test_a_whole_answer_becomes_the_events_of_a_stream() -> None:
    raw = as_stream({"id": "x", "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}, {"text": "b"}, "odd"]})
    first, done, rest = raw.split(b"\n\n")
    assert (done, rest) == (b"data: [DONE]", b"")
    assert json.loads(first[6:]) == {
        "id": "x",
        "object": "chat.completion.chunk",
        "choices": [{"index": 0, "finish_reason": "stop", "delta": {"content": "a"}}, {"text": "b"}],
    }
