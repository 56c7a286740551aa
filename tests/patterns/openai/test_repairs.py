"""Each repair is found by the refusal that asks for it, and changes nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.patterns.openai import repairs
from webapp.patterns.openai.error_mapping import refused
from webapp.patterns.redaction import Redactor

USER = {"role": "user", "content": "Hi"}
BASE: dict[str, Any] = {"model": "m", "messages": [USER]}
DEVELOPER = {"role": "developer", "content": "Be brief."}
SYSTEM = {"role": "system", "content": "Be brief."}


def repaired(body: dict[str, Any], message: str, *, status: int = 400, **fields: Any) -> dict[str, Any] | None:
    """The body after the repair that a refusal asks for; None where there is none."""
    error = refused(status, json.dumps({"error": {"message": message, **fields}}).encode(), {}, Redactor(), sent=json.dumps(body).encode())
    changed = dict(body)
    name = repairs.find_repair(error, changed)
    return changed if name and repairs.apply(name, changed) else None


@pytest.mark.parametrize(
    ("fields", "message", "left"),
    [
        (
            {"max_tokens": 9},
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            {"max_completion_tokens": 9},
        ),
        ({"max_completion_tokens": 9}, "Unrecognized request argument supplied: max_completion_tokens", {"max_tokens": 9}),
        ({"reasoning_effort": "high"}, '"qwen2.5-coder:7b" does not support thinking', {}),
        ({"max_completion_tokens": 9}, "body.max_completion_tokens: Extra inputs are not permitted", {"max_tokens": 9}),
        ({"max_tokens": 8, "max_completion_tokens": 9}, "Unsupported parameter: 'max_tokens'", {"max_completion_tokens": 9}),
        (
            {"temperature": 0.7},
            "Unsupported value: 'temperature' does not support 0.7 with this model. Only the default (1) is supported.",
            {},
        ),
        ({"temperature": 0.7}, "deepseek-reasoner does not support the parameter `temperature`", {}),
        ({"temperature": 0.7}, "`temperature` is deprecated for this model.", {}),
        ({"presence_penalty": 1}, "Argument not supported on this model: presencePenalty", {}),
        ({"parallel_tool_calls": False}, "Unrecognized request argument supplied: parallel_tool_calls", {}),
        ({"top_p": 0.9, "temperature": 1}, "This model does not support top_p", {"temperature": 1}),
        ({"store": True}, "property 'store' is unsupported", {}),
        ({"stream_options": {"include_usage": True}}, "Unknown parameter: stream_options", {}),
        ({"reasoning_effort": "minimal"}, "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model.", {}),
    ],
)
def test_a_parameter_is_renamed_or_left_out(fields: dict[str, Any], message: str, left: dict[str, Any]) -> None:
    assert repaired({**BASE, **fields}, message) == {**BASE, **left}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": 99_999}, "max_tokens is too large: 99999. This model supports at most 16384 completion tokens."),
        ({"temperature": 5}, "temperature must be at most 2"),
        ({"tools": []}, "m does not support tools"),
        ({"stop": ["a"]}, "Unsupported parameter: 'stop' is not supported with this model."),
        ({"response_format": {"type": "json_object"}}, "response_format is not supported"),
        ({"temperature": 1}, "Your input was flagged: temperature is not supported"),
        ({"n": 3}, "Unsupported parameter: 'n'"),
    ],
)
def test_a_request_that_would_lose_its_meaning_stays_refused(fields: dict[str, Any], message: str) -> None:
    assert repaired({**BASE, **fields}, message) is None


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ("messages[0].role: unknown variant `developer`, expected one of `system`, `user`, `assistant`, `tool`", 422),
        ("Unexpected role 'developer'", 400),
        ("'developer' is not one of ['system', 'assistant', 'user'] - 'messages.0.role'", 400),
        ("Input should be 'system', 'user' or 'assistant': messages.0.role got 'developer'", 422),
    ],
)
def test_a_developer_becomes_the_system(message: str, status: int) -> None:
    body = repaired({**BASE, "messages": [DEVELOPER, USER]}, message, status=status)
    assert body == {**BASE, "messages": [SYSTEM, USER]}


@pytest.mark.parametrize(
    "message", ["System role not supported", "Unsupported value: 'messages[0].role' does not support 'system' with this model."]
)
def test_instructions_move_into_the_first_message_of_the_user(message: str) -> None:
    body = repaired({**BASE, "messages": [SYSTEM, USER, {"role": "assistant", "content": "Yes?"}]}, message)
    assert body == {**BASE, "messages": [{"role": "user", "content": "Be brief.\n\nHi"}, {"role": "assistant", "content": "Yes?"}]}


def test_neighbours_of_one_role_are_joined_and_pictures_kept() -> None:
    picture = {"type": "image_url", "image_url": {"url": "data:,"}}
    messages = [USER, {"role": "user", "content": [picture]}, {"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    body = repaired({**BASE, "messages": messages}, "Conversation roles must alternate user/assistant/user/assistant/...", status=500)
    assert body is not None
    assert body["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, picture]},
        {"role": "assistant", "content": "a\n\nb"},
    ]


def test_text_parts_become_a_text_where_a_server_takes_no_parts() -> None:
    parts = [{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]
    body = repaired({**BASE, "messages": [{"role": "user", "content": parts}]}, "messages.0.content must be a string")
    assert body == {**BASE, "messages": [{"role": "user", "content": "one\ntwo"}]}


def test_fields_of_messages_that_a_server_does_not_know_are_left_out() -> None:
    messages = [{**USER, "name": "Ada"}, {"role": "assistant", "content": "x", "reasoning_content": "y"}]
    body = repaired({**BASE, "messages": messages}, "messages.1: property 'reasoning_content' is unsupported")
    assert body == {**BASE, "messages": [USER, {"role": "assistant", "content": "x"}]}


def test_numbers_are_asked_for_where_base64_is_refused() -> None:
    asked = {"model": "m", "input": "x", "encoding_format": "base64"}
    assert repaired(asked, "base64 encoding is not currently supported") == {**asked, "encoding_format": "float"}


def test_a_value_that_a_model_refuses_does_not_take_the_parameter_from_others() -> None:
    refusal = "Unsupported value: 'reasoning_effort' does not support 'minimal' with this model."
    error = refused(400, json.dumps({"error": {"message": refusal, "param": "reasoning_effort"}}).encode(), {}, Redactor())
    name = repairs.find_repair(error, {**BASE, "reasoning_effort": "minimal"})
    assert name == "without reasoning_effort=minimal"
    other = {**BASE, "reasoning_effort": "high"}
    assert not repairs.apply(name, other)
    assert other["reasoning_effort"] == "high"


def test_a_repair_never_changes_messages_that_others_share() -> None:
    messages = [DEVELOPER, USER]
    repairs.apply("system for developer", {"messages": messages})
    repairs.apply("user for system", {"messages": messages})
    assert messages == [DEVELOPER, USER]


def test_what_is_learned_is_told_once() -> None:
    told: list[tuple[str, ...]] = []
    adaptations = repairs.Adaptations({"m": ["without temperature"]}, lambda *fact: told.append(fact))
    adaptations.learn("m", "without temperature", "no")
    adaptations.learn("m", "system for developer", "no")
    adaptations.learn("m", "system for developer", "no")
    assert told == [("m", "system for developer", "no")]
    assert adaptations.of("m") == ("without temperature", "system for developer")
    adaptations.replace({})
    assert adaptations.of("m") == ()
