"""A whole chat completion becomes a message."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.patterns.messages import error_body, to_message
from webapp.patterns.messages.answers import SIGNATURE
from webapp.patterns.types import Response, Usage


def completion(message: Any = None, finish: str = "stop", **choice: Any) -> Response:
    said = {"role": "assistant", "content": "Hi.", **(message or {})}
    body = {"id": "chatcmpl-1", "choices": [{"index": 0, "message": said, "finish_reason": finish, **choice}]}
    return Response(json.dumps(body).encode(), body)


def message(answer: Response, **options: Any) -> dict[str, Any]:
    return to_message(answer, model="asked", **options)


def call(arguments: str, **fields: Any) -> Any:
    return {"id": "call_1", "type": "function", "function": {"name": "add", "arguments": arguments}, **fields}


def test_a_text_becomes_a_text_block() -> None:
    answered = message(completion(), usage=Usage(prompt_tokens=12, completion_tokens=3, cached_tokens=8))
    assert answered.pop("id").startswith("msg_")
    assert answered == {
        "type": "message",
        "role": "assistant",
        "model": "asked",
        "content": [{"type": "text", "text": "Hi."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 4, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 8, "output_tokens": 3},
    }


@pytest.mark.parametrize(
    ("finish", "reason"),
    [("stop", "end_turn"), ("length", "max_tokens"), ("tool_calls", "tool_use"), ("content_filter", "refusal"), ("odd", "end_turn")],
)
def test_the_finish_reason_becomes_a_stop_reason(finish: str, reason: str) -> None:
    assert message(completion(finish=finish))["stop_reason"] == reason


def test_a_stop_sequence_is_named_where_the_server_names_it() -> None:
    answered = message(completion(stop_reason="END"), stops=["END"])
    assert (answered["stop_reason"], answered["stop_sequence"]) == ("stop_sequence", "END")


@pytest.mark.parametrize("met", [None, 151645, "OTHER"])
def test_the_end_of_the_turn_is_no_stop_sequence(met: Any) -> None:
    answered = message(completion(stop_reason=met), stops=["END"])
    assert (answered["stop_reason"], answered["stop_sequence"]) == ("end_turn", None)


def test_calls_follow_the_text() -> None:
    content = message(completion({"tool_calls": [call('{"a": 1}'), call("", id="call_2")]}, "tool_calls"))["content"]
    assert content == [
        {"type": "text", "text": "Hi."},
        {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_2", "name": "add", "input": {}},
    ]


def test_arguments_that_are_no_object_are_kept_for_the_tool_to_refuse() -> None:
    content = message(completion({"content": None, "tool_calls": [call('{"a": ')]}, "length"))["content"]
    assert content == [{"type": "tool_use", "id": "call_1", "name": "add", "input": {"invalid_arguments": '{"a": '}}]


def test_a_call_without_an_id_gets_one() -> None:
    content = message(completion({"tool_calls": [call("{}", id=None)]}))["content"]
    assert content[1]["id"].startswith("toolu_")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_is_shown_to_those_who_asked_for_it(field: str) -> None:
    answer = completion({field: "Hm."})
    assert message(answer)["content"] == [{"type": "text", "text": "Hi."}]
    assert message(answer, thinking=True)["content"][0] == {"type": "thinking", "thinking": "Hm.", "signature": SIGNATURE}


def test_content_in_parts_is_one_text() -> None:
    answer = completion({"content": [{"type": "text", "text": "a"}, "b", {"type": "text", "text": None}]})
    assert message(answer)["content"] == [{"type": "text", "text": "ab"}]


def test_a_refusal_is_told_in_words_and_in_the_stop_reason() -> None:
    answered = message(completion({"content": None, "refusal": "No."}))
    assert (answered["content"], answered["stop_reason"]) == ([{"type": "text", "text": "No."}], "refusal")


def test_an_answer_without_text_has_no_blocks() -> None:
    assert message(completion({"content": None}))["content"] == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (409, "invalid_request_error"),
        (413, "request_too_large"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (502, "api_error"),
        (503, "overloaded_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_errors_have_anthropics_types(status: int, kind: str) -> None:
    assert error_body(status, "Why.", request_id="r") == {"type": "error", "error": {"type": kind, "message": "Why."}, "request_id": "r"}


def test_an_error_names_its_cause() -> None:
    assert error_body(404, "No.", code="model_not_found")["error"]["details"] == {"error_code": "model_not_found"}


def test_an_overflow_begins_with_the_words_that_make_clients_shorten_the_conversation() -> None:
    assert error_body(400, "Too many tokens.", code="context_length_exceeded")["error"]["message"] == "prompt is too long: Too many tokens."
    told = error_body(400, "Prompt is too long: 9 > 8", code="context_length_exceeded")
    assert told["error"]["message"] == "Prompt is too long: 9 > 8"
