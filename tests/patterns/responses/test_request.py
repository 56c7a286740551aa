"""A request as a chat completion, and as one for a server that speaks Responses."""

from __future__ import annotations

from typing import Any

import pytest

from webapp.patterns.errors import InputError
from webapp.patterns.responses.items import normalize_input
from webapp.patterns.responses.request import ResponsesRequest, check_tool_choice, to_chat, to_native, to_request
from webapp.patterns.responses.tools import ToolSet

FUNCTION = {"type": "function", "name": "f", "parameters": {}}


def asked(history: Any = (), **body: Any) -> ResponsesRequest:
    body = {"model": "m", "input": "hi", **body}
    return ResponsesRequest(body, list(history), normalize_input(body["input"]))


def chat(**body: Any) -> Any:
    return to_chat(asked(**body), ToolSet.of(body.get("tools")))


def test_a_plain_request_asks_for_nothing_more() -> None:
    assert chat() == {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def test_a_request_without_any_input_still_has_a_message() -> None:
    assert chat(input=None)["messages"] == [{"role": "user", "content": ""}]


def test_parameters_that_both_have_are_the_same() -> None:
    made = chat(temperature=0.5, top_p=0.9, user="u", max_output_tokens=9, top_k=3, instructions="be brief")
    assert made["temperature"] == 0.5
    assert made["top_p"] == 0.9
    assert made["max_tokens"] == 9
    assert made["top_k"] == 3, "an extension of some server"
    assert made["messages"][0] == {"role": "system", "content": "be brief"}


def test_what_is_about_state_and_clients_is_not_sent() -> None:
    made = chat(store=False, background=True, metadata={"a": "b"}, client_metadata={}, prompt_cache_key="k", include=[], truncation="auto")
    assert made.keys() == {"model", "messages"}


def test_reasoning_effort_is_passed_on() -> None:
    assert chat(reasoning={"effort": "high", "summary": "auto"})["reasoning_effort"] == "high"


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, {"type": "json_object"}),
        (
            {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True},
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        ),
    ],
)
def test_the_format_of_the_text(wanted: Any, expected: Any) -> None:
    assert chat(text={"format": wanted, "verbosity": "low"}).get("response_format") == expected


def test_log_probabilities_are_asked_for() -> None:
    assert chat(include=["message.output_text.logprobs"])["logprobs"] is True
    assert chat(top_logprobs=3)["top_logprobs"] == 3


def test_tools_and_how_they_may_be_called() -> None:
    made = chat(tools=[FUNCTION], tool_choice="required", parallel_tool_calls=False)
    assert made["tools"][0]["function"]["name"] == "f"
    assert made["tool_choice"] == "required"
    assert made["parallel_tool_calls"] is False
    assert "parallel_tool_calls" not in chat(tools=[FUNCTION], parallel_tool_calls=True)
    assert "tools" not in chat(tools=[{"type": "web_search"}], tool_choice="auto")


def test_a_tool_that_cannot_run_cannot_be_required() -> None:
    with pytest.raises(InputError, match="web_search"):
        check_tool_choice({"tool_choice": {"type": "web_search"}})
    check_tool_choice({"tool_choice": {"type": "function", "name": "f"}})


def test_a_native_server_gets_the_whole_conversation_and_keeps_nothing() -> None:
    history = normalize_input([{"role": "user", "content": "before"}, {"type": "reasoning", "id": "rs_1", "summary": []}])
    body = to_native(asked(history, previous_response_id="resp_1", store=True, stream=True, reasoning={"effort": "low"}))
    assert [item["content"][0]["text"] for item in body["input"]] == ["before", "hi"]
    assert "id" not in body["input"][0]
    assert body["store"] is False
    assert body["reasoning"] == {"effort": "low"}
    assert not body.keys() & {"previous_response_id", "stream", "background"}


def test_reasoning_that_a_server_can_read_is_sent_back() -> None:
    kept = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "xyz"}
    assert to_native(asked([kept]))["input"][0] == kept


def test_a_request_goes_out_natively_unless_tools_run_here() -> None:
    request = to_request(asked(), ToolSet.of([]))
    assert request.native is not None
    assert request.native.protocol == "responses"
    assert to_request(asked(), ToolSet.of([{"type": "file_search"}])).native is None


def test_only_truncation_auto_lets_a_conversation_be_cut() -> None:
    assert to_request(asked(truncation="auto"), ToolSet.of([])).may_truncate
    request = to_request(asked(), ToolSet.of([]))
    assert not request.may_truncate
    assert not request.with_options(model="x").may_truncate
    assert not request.with_messages([]).may_truncate
