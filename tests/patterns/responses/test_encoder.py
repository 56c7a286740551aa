"""The events made from deltas: their order, their numbers, and the response they end in."""

from __future__ import annotations

from typing import Any

import pytest

from tests.patterns.responses.events import RESPONSE_ID, decoded, kinds, response_of
from webapp.patterns.responses.encoder import EventEncoder
from webapp.patterns.responses.objects import owner_of
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.types import Delta, ToolCallDelta, Usage


def encode(*deltas: Delta, tools: Any = (), summaries: bool = False) -> tuple[bytes, dict[str, Any]]:
    response = response_of()
    encoder = EventEncoder(response, ToolSet.of(tools), summaries=summaries)
    raw = encoder.start() + b"".join(encoder.add([delta]) for delta in deltas) + encoder.end_turn() + encoder.finish()
    return raw, response


def call(index: int, name: str = "", arguments: str = "", id_: str = "") -> Delta:
    return Delta(tool_calls=(ToolCallDelta(index, id_, name, arguments),))


TEXT = [
    "output_item.added",
    "content_part.added",
    "output_text.delta",
    "output_text.delta",
    "output_text.done",
    "content_part.done",
    "output_item.done",
]


def test_a_text_comes_in_the_order_of_openai() -> None:
    raw, response = encode(Delta("Hel"), Delta("lo"), Delta(finish_reason="stop", usage=Usage(3, 2, 1, 0)))
    assert kinds(raw) == ["created", "in_progress", *TEXT, "completed"]
    assert [event["sequence_number"] for event in decoded(raw)] == list(range(10))
    [message] = response["output"]
    assert message["content"] == [{"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}]
    assert response["status"] == "completed"
    assert response["usage"]["input_tokens_details"]["cached_tokens"] == 1
    assert response["usage"]["total_tokens"] == 5
    assert decoded(raw)[0]["response"]["status"] == "in_progress"
    assert decoded(raw)[-1]["response"] == response


def test_each_item_is_closed_before_the_next_begins() -> None:
    raw, response = encode(Delta(reasoning="hm"), Delta("a"), call(0, "f", "{}", "c1"), Delta(finish_reason="tool_calls"))
    names = kinds(raw)
    assert names.count("output_item.added") == 3
    opened = 0
    for name in names:
        opened += (name == "output_item.added") - (name == "output_item.done")
        assert 0 <= opened <= 1
    assert [item["type"] for item in response["output"]] == ["reasoning", "message", "function_call"]


def test_ids_of_items_name_their_response() -> None:
    _, response = encode(Delta("a"), Delta(finish_reason="stop"))
    assert owner_of(response["output"][0]["id"]) == RESPONSE_ID
    assert owner_of("msg_1") == ""


def test_reasoning_is_text_or_a_summary_where_one_was_asked_for() -> None:
    raw, response = encode(Delta(reasoning="a"), Delta(reasoning="b"), Delta("x"), Delta(finish_reason="stop"))
    assert "reasoning_text.delta" in kinds(raw)
    assert response["output"][0]["content"] == [{"type": "reasoning_text", "text": "ab"}]
    raw, response = encode(Delta(reasoning="a"), Delta("x"), Delta(finish_reason="stop"), summaries=True)
    assert kinds(raw)[3:7] == [
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    assert response["output"][0]["summary"] == [{"type": "summary_text", "text": "a"}]


def test_a_refusal_is_a_part_of_its_own() -> None:
    raw, response = encode(Delta("Well: "), Delta(refusal="No."), Delta(finish_reason="stop"))
    assert [part["type"] for part in response["output"][0]["content"]] == ["output_text", "refusal"]
    assert "refusal.delta" in kinds(raw)
    assert "refusal.done" in kinds(raw)


def test_calls_in_parallel_keep_their_arguments_apart() -> None:
    fragments = [call(0, "f", "", "c1"), call(0, "", '{"a":'), call(0, "", "1}"), call(1, "g", '{"b":2}', "c2")]
    raw, response = encode(*fragments, Delta(finish_reason="tool_calls"))
    assert [(item["name"], item["call_id"], item["arguments"]) for item in response["output"]] == [
        ("f", "c1", '{"a":1}'),
        ("g", "c2", '{"b":2}'),
    ]
    names = kinds(raw)
    assert names.index("function_call_arguments.done") < names.index("output_item.added", names.index("output_item.added") + 1)


def test_calls_whose_fragments_are_mixed_lose_nothing() -> None:
    mixed = [call(0, "f", '{"a":', "c1"), call(1, "g", '{"b":', "c2"), call(0, "", "1}"), call(1, "", "2}")]
    _, response = encode(*mixed, Delta(finish_reason="tool_calls"))
    assert [item["arguments"] for item in response["output"]] == ['{"a":1}', '{"b":2}']


def test_a_call_without_arguments_has_an_empty_object() -> None:
    _, response = encode(call(0, "f", "", "c1"), Delta(finish_reason="tool_calls"))
    assert response["output"][0]["arguments"] == "{}"


def test_a_call_that_was_never_named_is_still_shown() -> None:
    _, response = encode(call(0, "", "{}", "c1"), Delta(finish_reason="tool_calls"))
    assert response["output"][0]["name"] == ""


def test_a_freeform_tool_gets_its_text() -> None:
    tools = [{"type": "custom", "name": "patch"}]
    raw, response = encode(call(0, "patch", '{"input":"a\\n', "c1"), call(0, "", 'b"}'), Delta(finish_reason="tool_calls"), tools=tools)
    [item] = response["output"]
    assert item["type"] == "custom_tool_call"
    assert item["input"] == "a\nb"
    assert kinds(raw)[3:5] == ["custom_tool_call_input.delta", "custom_tool_call_input.done"]
    _, response = encode(call(0, "patch", "no object", "c1"), Delta(finish_reason="tool_calls"), tools=tools)
    assert response["output"][0]["input"] == "no object"


def test_a_function_in_a_namespace_says_so() -> None:
    tools = [{"type": "namespace", "name": "files", "tools": [{"type": "function", "name": "read"}]}]
    _, response = encode(call(0, "files__read", "{}", "c1"), Delta(finish_reason="tool_calls"), tools=tools)
    assert (response["output"][0]["name"], response["output"][0]["namespace"]) == ("read", "files")


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete(finish: str, reason: str) -> None:
    raw, response = encode(Delta("a"), Delta(finish_reason=finish))
    assert kinds(raw)[-1] == "incomplete"
    assert response["incomplete_details"] == {"reason": reason}
    assert response["output"][0]["status"] == "incomplete"
    assert response["completed_at"] is None


def test_a_call_that_was_cut_is_never_run_here() -> None:
    encoder = EventEncoder(response_of(), ToolSet.of([{"type": "file_search"}]))
    encoder.add([call(0, "file_search", '{"que', "c1"), Delta(finish_reason="length")])
    encoder.end_turn()
    assert encoder.take_server_calls() == []


def test_a_failure_keeps_what_was_said() -> None:
    response = response_of()
    encoder = EventEncoder(response, ToolSet())
    encoder.add([Delta("par")])
    raw = encoder.fail({"code": "server_error", "message": "broken"})
    assert kinds(raw)[-1] == "failed"
    assert response["error"]["message"] == "broken"
    assert response["output"][0]["status"] == "incomplete"


def test_a_cancelled_response_ends_with_its_status() -> None:
    response = response_of()
    encoder = EventEncoder(response, ToolSet())
    raw = encoder.interrupt("interrupted", "cancelled")
    assert decoded(raw)[-1]["response"]["status"] == "cancelled"
    assert response["incomplete_details"] is None


def test_a_restart_leaves_the_void_items_out_of_the_end() -> None:
    response = response_of()
    encoder = EventEncoder(response, ToolSet())
    encoder.start()
    encoder.add([Delta("wrong")])
    encoder.restart()
    raw = encoder.taken() + encoder.add([Delta("right"), Delta(finish_reason="stop")]) + encoder.end_turn() + encoder.finish()
    assert [item["content"][0]["text"] for item in response["output"]] == ["right"]
    assert [event["output_index"] for event in decoded(raw) if event["type"] == "response.output_item.added"] == [1]


def test_a_queued_response_says_so_and_then_runs() -> None:
    encoder = EventEncoder(response_of(), ToolSet())
    assert kinds(encoder.queued()) == ["created", "queued"]
    assert kinds(encoder.resume()) == ["in_progress"]


def test_further_choices_do_not_count() -> None:
    _, response = encode(Delta("a"), Delta("b", choice=1), Delta(finish_reason="stop"))
    assert response["output"][0]["content"][0]["text"] == "a"


def test_broken_characters_do_not_break_the_stream() -> None:
    raw, _ = encode(Delta("a\ud800b"), Delta(finish_reason="stop"))
    assert b"a?b" in raw
