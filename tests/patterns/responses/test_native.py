"""Servers that speak Responses themselves: their streams decoded, made whole and passed on."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.patterns.responses.events import RESPONSE_ID, ScriptedBackend, decoded, gathered, kinds, request_of, response_of, says
from webapp.patterns.errors import BadAnswer, StreamBroken
from webapp.patterns.openai.exchange import ChatExchange, choose_exchange
from webapp.patterns.responses.encoder import sse
from webapp.patterns.responses.exchange import PassedResponses, passes
from webapp.patterns.responses.execution import Execution
from webapp.patterns.responses.native import ResponsesDecoder, adopt, complete_response
from webapp.patterns.responses.request import to_request
from webapp.patterns.responses.snapshot import Snapshot
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.types import Delta, Native, Response, StreamChunk

PART = {"type": "output_text", "text": ""}
ITEM = {"id": "msg_9", "type": "message", "role": "assistant", "content": [], "status": "in_progress"}
DONE = {**ITEM, "status": "completed", "content": [{"type": "output_text", "text": "Hello"}]}
USAGE = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}


def lifecycle(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "response": {"id": "resp_theirs", "model": "their-model", "output": [], **fields}}


EVENTS: list[dict[str, Any]] = [
    lifecycle("created", status="in_progress"),
    lifecycle("in_progress", status="in_progress"),
    {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
    {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "item_id": "msg_9", "part": PART},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_9", "delta": "Hel"},
    {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_9", "delta": "lo"},
    {"type": "response.output_text.done", "output_index": 0, "content_index": 0, "item_id": "msg_9", "text": "Hello"},
    {"type": "response.output_item.done", "output_index": 0, "item": DONE},
    lifecycle("completed", status="completed", output=[DONE], usage=USAGE),
]


def fed(*events: dict[str, Any], decoder: ResponsesDecoder | None = None) -> list[StreamChunk]:
    decoder = decoder or ResponsesDecoder()
    return [chunk for event in events if (chunk := decoder.feed(sse(event)))]


def chunks_of(*events: dict[str, Any]) -> list[StreamChunk]:
    return fed(*events)


def test_what_servers_leave_out_is_filled_in() -> None:
    raw = b"".join(chunk.raw for chunk in fed(*EVENTS))
    events = decoded(raw)
    assert [event["sequence_number"] for event in events] == list(range(9))
    assert events[4]["logprobs"] == []
    last = events[-1]["response"]
    assert last["usage"]["input_tokens_details"] == {"cached_tokens": 0, "cache_write_tokens": 0}
    assert last["output"][0]["content"][0]["annotations"] == []
    assert last["parallel_tool_calls"] is True
    assert raw.startswith(b"event: response.created\n")


def test_a_stream_that_lacks_nothing_passes_byte_for_byte() -> None:
    raw = b"".join(chunk.raw for chunk in fed(*EVENTS))
    decoder = ResponsesDecoder()
    chunk = decoder.feed(raw)
    assert chunk
    assert chunk.raw == raw
    assert "".join(delta.text for delta in chunk.deltas) == "Hello"


@pytest.mark.parametrize("text", [b"{broken", b"[]", b'{"sequence_number": 0}'])
def test_a_text_delta_that_is_not_whole_takes_the_long_way(text: bytes) -> None:
    chunk = ResponsesDecoder().feed(b"event: response.output_text.delta\ndata: " + text + b"\n\n")
    assert chunk is None or not chunk.deltas


async def test_text_deltas_in_one_read_pass_together() -> None:
    raw = [chunk.raw for chunk in fed(*EVENTS)]
    read = [b"".join(raw[:4]), b"".join(raw[4:6]), b"".join(raw[6:])]
    decoder = ResponsesDecoder()
    chunks = [chunk for data in read if (chunk := decoder.feed(data))]
    response = response_of()
    made = await gathered(Execution(ScriptedBackend([*chunks[:2], StreamBroken("cut")]), request_of(), response=response).stream())
    assert response["output"][0]["content"][0]["text"] == "Hello"
    assert [event["sequence_number"] for event in decoded(made)] == list(range(7))


def test_deltas_say_what_the_events_mean() -> None:
    deltas = [delta for chunk in fed(*EVENTS) for delta in chunk.deltas]
    assert "".join(delta.text for delta in deltas) == "Hello"
    assert deltas[-1].finish_reason == "stop"
    assert deltas[-1].usage
    assert deltas[-1].usage.prompt_tokens == 5


def test_calls_reasoning_and_refusals_are_deltas_too() -> None:
    deltas = [
        delta
        for chunk in fed(
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": "hm"},
            {"type": "response.refusal.delta", "output_index": 0, "delta": "no"},
            {"type": "response.output_item.added", "output_index": 1, "item": {"type": "function_call", "call_id": "c1", "name": "f"}},
            {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
            {"type": "response.function_call_arguments.delta", "output_index": 7, "delta": "lost"},
            {"type": "response.output_item.added", "output_index": 2, "item": {"type": "web_search_call"}},
            lifecycle("completed", output=[]),
        )
        for delta in chunk.deltas
    ]
    assert deltas[0].reasoning == "hm"
    assert deltas[1].refusal == "no"
    assert deltas[2].tool_calls[0].name == "f"
    assert deltas[3].tool_calls[0].arguments == "{}"
    assert deltas[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize(("reason", "expected"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_why_a_response_is_incomplete(reason: str, expected: str) -> None:
    [chunk] = fed(lifecycle("incomplete", incomplete_details={"reason": reason}))
    assert chunk.deltas[0].finish_reason == expected


def test_bytes_may_be_split_anywhere() -> None:
    stream = b"".join(sse(event) for event in EVENTS).replace(b"\n", b"\r\n")
    decoder = ResponsesDecoder()
    raw = b"".join(chunk.raw for number in range(len(stream)) if (chunk := decoder.feed(stream[number : number + 1])))
    assert raw == b"".join(chunk.raw for chunk in fed(*EVENTS))
    assert decoder.done
    assert decoder.finished
    assert decoder.feed(b"data: {}\n\n") is None


def test_the_last_event_may_lack_its_empty_line() -> None:
    decoder = ResponsesDecoder()
    decoder.feed(sse(EVENTS[-1]).rstrip())
    assert decoder.close()
    assert decoder.done
    assert decoder.close() is None


@pytest.mark.parametrize(
    "raw",
    [
        b'event: error\ndata: {"type":"error","message":"broken"}\n\n',
        b'data: {"error":{"message":"broken"}}\n\n',
        b"data: {broken\n\n",
        sse(lifecycle("failed", error={"code": "server_error", "message": "broken"})),
        b"data: " + b"x" * 200,
    ],
)
def test_errors_before_any_content_are_errors_of_the_stream(raw: bytes) -> None:
    decoder = ResponsesDecoder(max_event=100) if len(raw) == 206 else ResponsesDecoder()
    decoder.feed(raw)
    assert decoder.error


def test_a_failure_after_content_is_passed_on() -> None:
    decoder = ResponsesDecoder()
    fed(*EVENTS[:5], decoder=decoder)
    chunk = decoder.feed(sse(lifecycle("failed", error={"message": "broken"})))
    assert chunk
    assert decoder.done


def test_comments_and_done_are_passed_over() -> None:
    assert ResponsesDecoder().feed(b": hello\n\ndata: [DONE]\n\n") is None


async def test_a_stream_is_passed_on_under_our_id() -> None:
    backend = ScriptedBackend(chunks_of(*EVENTS))
    response = response_of(metadata={"a": "b"})
    raw = await gathered(Execution(backend, request_of(), response=response).stream())
    events = decoded(raw)
    assert kinds(raw) == [event["type"].removeprefix("response.") for event in EVENTS]
    assert {event["response"]["id"] for event in events if "response" in event} == {RESPONSE_ID}
    assert events[-1]["response"]["metadata"] == {"a": "b"}
    assert events[-1]["response"]["model"] == "m"
    assert response["output"] == events[-1]["response"]["output"]
    assert events[4]["item_id"] == "msg_9"
    assert [event["sequence_number"] for event in events] == list(range(9))


async def test_a_native_answer_after_a_queue_has_no_second_beginning() -> None:
    execution = Execution(ScriptedBackend(chunks_of(*EVENTS)), request_of(), response=response_of(), announced=True)
    execution.encoder.queued()
    events = decoded(await gathered(execution.stream()))
    assert events[0]["type"] == "response.in_progress"
    assert [event["sequence_number"] for event in events] == list(range(2, 10))


async def test_another_step_goes_on_after_a_native_one() -> None:
    script = [*chunks_of(*EVENTS[:5]), StreamChunk(b"", (), switch="continue"), *says("lo")]
    response = response_of()
    raw = await gathered(Execution(ScriptedBackend(script), request_of(), response=response).stream())
    events = decoded(raw)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [item["content"][0]["text"] for item in response["output"]] == ["Hel", "lo"]
    assert response["output"][0]["status"] == "incomplete"


async def test_a_native_step_begins_anew_after_another() -> None:
    script = [Delta(text="wrong"), StreamChunk(b"", (), switch="restart"), *chunks_of(*EVENTS)]
    response = response_of()
    events = decoded(await gathered(Execution(ScriptedBackend(script), request_of(), response=response).stream()))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [item["content"][0]["text"] for item in response["output"]] == ["Hello"]
    assert [event["output_index"] for event in events if event["type"] == "response.output_item.added"] == [0, 1]


async def test_a_native_stream_that_breaks_ends_as_failed() -> None:
    script = [*chunks_of(*EVENTS[:5]), StreamBroken("cut")]
    response = response_of()
    events = decoded(await gathered(Execution(ScriptedBackend(script), request_of(), response=response).stream()))
    assert events[-1]["type"] == "response.failed"
    assert response["output"][0]["content"][0]["text"] == "Hel"


async def test_a_whole_native_answer_keeps_our_fields() -> None:
    answer = Response(
        b"", {"id": "resp_theirs", "model": "x", "output": [DONE], "usage": USAGE, "status": "completed"}, protocol="responses"
    )
    response = response_of(metadata={"a": "b"})
    made = await Execution(ScriptedBackend(answer), request_of(), response=response).send()
    assert made["id"] == RESPONSE_ID
    assert made["metadata"] == {"a": "b"}
    assert made["output"][0]["content"][0]["text"] == "Hello"


def test_adopting_fills_in_what_is_missing() -> None:
    response = response_of()
    adopt(response, {"output": [{"type": "reasoning"}], "status": "completed"})
    assert response["output"][0]["summary"] == []
    body: dict[str, Any] = {}
    complete_response(body)
    assert body["id"].startswith("resp_")


NATIVE = Native("responses", {"input": [], "tools": [{"type": "function", "name": "f"}]})
HOSTED = Native("responses", {"input": [], "tools": [{"type": "web_search"}]})


def test_who_gets_the_request_as_it_was_written() -> None:
    assert passes(NATIVE, {"responses": True})
    assert not passes(NATIVE, {})
    assert not passes(HOSTED, {"responses": True})
    assert passes(HOSTED, {"responses": True, "hosted_tools": True})
    assert not passes(Native("messages", {}), {"responses": True})


def test_the_exchange_of_a_native_server() -> None:
    request = to_request(request_of(), ToolSet()).with_options(model="theirs")
    exchange = choose_exchange(request, stream=True, capabilities={"responses": True})
    assert isinstance(exchange, PassedResponses)
    body = json.loads(exchange.content())
    assert (body["model"], body["stream"], body["store"]) == ("theirs", True, False)
    assert isinstance(exchange.decoder(), ResponsesDecoder)
    assert isinstance(choose_exchange(request, stream=True, capabilities={}), ChatExchange)
    whole = choose_exchange(request, stream=False, capabilities={"responses": True})
    assert "stream" not in whole.body
    read = whole.read(Response(b"", {"output": [DONE], "usage": USAGE}))
    assert (read.protocol, read.usage and read.usage.prompt_tokens) == ("responses", 5)
    assert kinds(whole.as_events({"output": [DONE], "status": "completed"}))[-1] == "completed"


@pytest.mark.parametrize(
    "body", [{}, {"output": [], "status": "failed", "error": {"message": "x"}}, {"output": [], "status": "in_progress"}]
)
def test_what_is_no_response_is_refused(body: Any) -> None:
    exchange = PassedResponses(NATIVE, model="m", stream=False)
    with pytest.raises(BadAnswer):
        exchange.read(Response(b"", body))


def test_a_snapshot_follows_every_kind_of_event() -> None:
    snapshot = Snapshot.of(
        sse(event)
        for event in [
            {"type": "response.output_item.added", "output_index": 0, "sequence_number": 0, "item": {"type": "reasoning", "summary": []}},
            {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0, "part": {"text": ""}},
            {"type": "response.reasoning_summary_text.delta", "output_index": 0, "summary_index": 0, "delta": "a"},
            {"type": "response.content_part.added", "output_index": 0, "content_index": 0, "part": {"text": ""}},
            {"type": "response.reasoning_text.delta", "output_index": 0, "content_index": 0, "delta": "b"},
            {"type": "response.content_part.done", "output_index": 0, "content_index": 0, "part": {"text": "bb"}},
            {"type": "response.output_item.added", "output_index": 1, "item": {"type": "function_call", "status": "in_progress"}},
            {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "{}"},
            {"type": "response.output_item.added", "output_index": 2, "item": {"type": "custom_tool_call"}},
            {"type": "response.custom_tool_call_input.delta", "output_index": 2, "delta": "x"},
            {"type": "response.output_item.added", "output_index": 3, "item": {"type": "message", "content": [{"refusal": ""}]}},
            {"type": "response.refusal.delta", "output_index": 3, "content_index": 0, "delta": "no"},
            {"type": "response.refusal.delta", "output_index": 3, "content_index": 5, "delta": "lost"},
            {"type": "response.refusal.delta", "output_index": 9, "content_index": 0, "delta": "lost"},
        ]
    )
    reasoning, call, custom, message = snapshot.settle_items()
    assert reasoning["summary"][0]["text"] == "a"
    assert reasoning["content"][0]["text"] == "bb"
    assert (call["arguments"], call["status"]) == ("{}", "incomplete")
    assert custom["input"] == "x"
    assert message["content"][0]["refusal"] == "no"
    assert snapshot.has_output
    assert snapshot.next_item == 4
