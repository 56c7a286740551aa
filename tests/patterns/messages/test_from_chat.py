"""A chat completion request becomes the Messages request that asks for the same."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.errors import InputError
from webapp.patterns.messages.from_chat import MAX_TOKENS, from_chat

HELLO: Any = [{"role": "user", "content": "Hello"}]


def translated(messages: Any = None, **fields: Any) -> dict[str, Any]:
    return from_chat({"model": "m", "messages": HELLO if messages is None else messages, **fields})


def turns(*messages: Any) -> Any:
    return translated(messages)["messages"]


def text(value: str) -> Any:
    return {"type": "text", "text": value}


def test_a_plain_request() -> None:
    assert translated(stop=["END", "  "], user="u1", top_k=5, seed=1) == {
        "model": "m",
        "max_tokens": MAX_TOKENS,
        "messages": [{"role": "user", "content": [text("Hello")]}],
        "stop_sequences": ["END"],
        "metadata": {"user_id": "u1"},
        "top_k": 5,
    }


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_the_limit_is_carried_over(field: str) -> None:
    assert translated(**{field: 7})["max_tokens"] == 7


def test_a_single_stop_sequence_is_a_list_of_one() -> None:
    assert translated(stop="END")["stop_sequences"] == ["END"]


def test_system_and_developer_messages_become_the_system_prompt() -> None:
    sent = translated([{"role": "developer", "content": "A."}, *HELLO, {"role": "system", "content": [text("B.")]}])
    assert sent["system"] == [text("A."), text("B.")]
    assert len(sent["messages"]) == 1


def test_roles_alternate() -> None:
    assert turns(*HELLO, {"role": "user", "content": "again"}, {"role": "assistant", "content": "ok"}) == [
        {"role": "user", "content": [text("Hello"), text("again")]},
        {"role": "assistant", "content": [text("ok")]},
    ]


def test_empty_texts_and_empty_turns_are_left_out() -> None:
    assert turns(*HELLO, {"role": "assistant", "content": " "}, {"role": "user", "content": None}) == [
        {"role": "user", "content": [text("Hello")]}
    ]


def test_calls_and_their_results() -> None:
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}},
        {"id": "c2", "type": "function", "function": {"name": "now", "arguments": "broken"}},
        {"id": "c3", "type": "custom"},
    ]
    results = [{"role": "tool", "tool_call_id": f"c{number}", "content": str(number)} for number in (1, 2)]
    assert turns(*HELLO, {"role": "assistant", "content": None, "tool_calls": calls}, *results)[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "c1", "name": "add", "input": {"a": 1}},
                {"type": "tool_use", "id": "c2", "name": "now", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "c1", "content": [text("1")]},
                {"type": "tool_result", "tool_use_id": "c2", "content": [text("2")]},
            ],
        },
    ]


def test_tools_and_older_functions() -> None:
    schema = {"type": "object", "properties": {}}
    tool = {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": schema}}
    sent = translated(tools=[tool, {"type": "custom"}], functions=[{"name": "now"}])
    assert sent["tools"] == [
        {"name": "add", "input_schema": schema, "description": "Add."},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert "tool_choice" not in sent


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("auto", {"type": "auto"}),
        ("required", {"type": "any"}),
        ("none", {"type": "none"}),
        ({"type": "function", "function": {"name": "add"}}, {"type": "tool", "name": "add"}),
        ({"type": "function"}, None),
        (None, None),
    ],
)
def test_the_tool_choice_is_translated(choice: Any, expected: Any) -> None:
    sent = translated(tools=[{"type": "function", "function": {"name": "add"}}], tool_choice=choice)
    assert sent.get("tool_choice") == expected


@pytest.mark.parametrize("choice", [None, "required"])
def test_one_call_at_a_time(choice: Any) -> None:
    sent = translated(tools=[{"type": "function", "function": {"name": "add"}}], tool_choice=choice, parallel_tool_calls=False)
    assert sent["tool_choice"] == {"type": "any" if choice else "auto", "disable_parallel_tool_use": True}


def test_pictures_and_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,R0lG"}},
        {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
        {"type": "file", "file": {"filename": "plan.pdf", "file_data": "data:application/pdf;base64,JVBE"}},
        {"type": "file", "file": {"file_data": "data:;base64,JVBE"}},
        {"type": "reasoning", "text": "Hm."},
        {"type": "refusal", "refusal": "No."},
    ]
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}
    assert turns({"role": "user", "content": parts})[0]["content"] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
        {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}},
        {"type": "document", "source": pdf, "title": "plan.pdf"},
        {"type": "document", "source": pdf},
        text("No."),
    ]


@pytest.mark.parametrize(
    "part", [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}, {"type": "file", "file": {"file_id": "file_1"}}]
)
def test_content_that_anthropic_does_not_take_is_refused(part: Any) -> None:
    with pytest.raises(InputError) as caught:
        turns({"role": "user", "content": [part]})
    assert caught.value.param == "messages"


@pytest.mark.parametrize(("fields", "param"), [({"n": 2}, "n"), ({"logprobs": True}, "logprobs")])
def test_what_anthropic_cannot_do_is_refused(fields: Any, param: str) -> None:
    with pytest.raises(InputError) as caught:
        translated(**fields)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, {}),
        ({"temperature": 1.7}, {"temperature": 1.0}),
        ({"temperature": 0.2, "top_p": 0.9}, {"temperature": 0.2}),
        ({"top_p": 0.9, "top_k": 3}, {"top_p": 0.9, "top_k": 3}),
    ],
)
def test_sampling(fields: Any, expected: Any) -> None:
    sent = translated(**fields)
    assert {name: sent[name] for name in ("temperature", "top_p", "top_k") if name in sent} == expected


@pytest.mark.parametrize(
    ("effort", "limit", "budget"),
    [("low", None, 2048), ("high", 4000, 3999), ("high", 500, None), ("none", None, None), (None, None, None)],
)
def test_a_reasoning_effort_becomes_a_budget(effort: Any, limit: Any, budget: Any) -> None:
    sent = translated(reasoning_effort=effort, max_tokens=limit, temperature=0.5)
    assert sent.get("thinking") == ({"type": "enabled", "budget_tokens": budget} if budget else None)
    assert ("temperature" in sent) is (budget is None)


def test_a_turn_that_waits_for_a_result_does_not_begin_to_think() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": "{}"}}
    messages = [*HELLO, {"role": "assistant", "tool_calls": [call]}, {"role": "tool", "tool_call_id": "c1", "content": "1"}]
    assert "thinking" not in translated(messages, reasoning_effort="high")


def test_a_schema_for_the_answer() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
    assert translated(response_format=wanted)["output_config"] == {"format": {"type": "json_schema", "schema": {"type": "object"}}}
    assert "output_config" not in translated(response_format={"type": "json_object"})
    assert "output_config" not in translated(response_format={"type": "json_schema"})
