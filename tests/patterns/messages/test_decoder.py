"""The events of an Anthropic server become deltas, and chat chunks where the caller speaks chat completions."""

from __future__ import annotations

import json
from typing import Any

import pytest

from webapp.patterns.messages import decoder
from webapp.patterns.messages.completions import to_completion
from webapp.patterns.messages.decoder import EventDecoder
from webapp.patterns.messages.events import event, message_events
from webapp.patterns.openai.chunk_writer import ChunkWriter
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import Delta, StreamChunk, ToolCall, ToolCallDelta, Usage

WHOLE: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "s"},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "toolu_1", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "toolu_2", "name": "now", "input": {}},
    ],
    "stop_reason": "tool_use",
    "usage": {"input_tokens": 4, "cache_read_input_tokens": 6, "cache_creation_input_tokens": 2, "output_tokens": 9},
}
EVENTS = message_events(WHOLE)


def decode(raw: bytes, size: int, writer: ChunkWriter | None = None) -> tuple[EventDecoder, list[StreamChunk]]:
    decoding = EventDecoder(writer)
    chunks = [decoding.feed(raw[at : at + size]) for at in range(0, len(raw), size)]
    return decoding, [chunk for chunk in [*chunks, decoding.close()] if chunk]


def accumulated(chunks: list[StreamChunk]) -> Accumulator:
    accumulator = Accumulator()
    for chunk in chunks:
        accumulator.add_packet(chunk)
    return accumulator


def feed(*events: bytes) -> EventDecoder:
    decoding = EventDecoder()
    decoding.feed(b"".join(events))
    return decoding


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_message_is_the_same_however_its_bytes_are_split(size: int) -> None:
    decoding, chunks = decode(EVENTS, size)
    answer = accumulated(chunks)
    assert (answer.reasoning, answer.text, answer.finish_reason) == ("Hm.", "I look.", "tool_calls")
    assert answer.tool_calls == [ToolCall("toolu_1", "add", '{"a":1}'), ToolCall("toolu_2", "now", "{}")]
    assert answer.usage == Usage(12, 9, cached_tokens=6)
    assert b"".join(chunk.raw for chunk in chunks) == EVENTS
    assert {chunk.protocol for chunk in chunks} == {"messages"}
    assert decoding.done
    assert decoding.finished


def test_pieces_of_a_block_add_up() -> None:
    decoding = EventDecoder()
    start = event("content_block_start", index=3, content_block={"type": "tool_use", "id": "t", "name": "f", "input": {}})
    chunk = decoding.feed(
        start
        + event("content_block_delta", index=3, delta={"type": "input_json_delta", "partial_json": ""})
        + event("content_block_delta", index=3, delta={"type": "input_json_delta", "partial_json": "{}"})
        + event("content_block_delta", index=9, delta={"type": "input_json_delta", "partial_json": "lost"})
        + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "a"})
        + event("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "b"})
        + event("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "c"})
        + event("content_block_start", index=4, content_block={"type": "server_tool_use"})
        + event("content_block_start", index=5, content_block={"type": "text", "text": ""})
    )
    assert chunk
    assert chunk.deltas == (
        Delta(tool_calls=(ToolCallDelta(0, "t", "f"),)),
        Delta(tool_calls=(ToolCallDelta(0, arguments="{}"),)),
        Delta(text="a"),
        Delta(reasoning="b"),
    )


def test_later_counts_replace_earlier_ones() -> None:
    decoding = EventDecoder()
    chunk = decoding.feed(
        event("message_start", message={"usage": {"input_tokens": 5, "output_tokens": 1}})
        + event("message_delta", delta={}, usage={"output_tokens": 8, "input_tokens": None})
        + event("message_delta", delta={"stop_reason": "end_turn"})
    )
    assert chunk
    assert [delta.usage for delta in chunk.deltas] == [Usage(5, 1), Usage(5, 8), Usage(5, 8)]
    assert decoding.finished


def test_a_message_without_counts_has_no_usage() -> None:
    chunk = EventDecoder().feed(event("message_start", message=None))
    assert chunk
    assert chunk.deltas == (Delta(),)


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("refusal", "content_filter"),
        ("tool_use", "tool_calls"),
        ("new_one", "stop"),
    ],
)
def test_the_stop_reason_becomes_a_finish_reason(reason: str, finish: str) -> None:
    chunk = EventDecoder().feed(event("message_delta", delta={"stop_reason": reason}))
    assert chunk
    assert chunk.deltas[0].finish_reason == finish
    assert to_completion({"content": [], "stop_reason": reason})["choices"][0]["finish_reason"] == finish


def test_windows_line_ends_comments_and_a_forgotten_empty_line_are_read() -> None:
    raw = b": hello\r\n\r\n\r\n" + EVENTS.replace(b"\n", b"\r\n").rstrip()
    decoding, chunks = decode(raw, 50)
    assert accumulated(chunks).text == "I look."
    assert decoding.done


def test_nothing_is_read_after_the_end() -> None:
    decoding = feed(EVENTS + event("content_block_delta", index=0, delta={"type": "text_delta", "text": "late"}))
    assert decoding.feed(EVENTS) is None
    assert decoding.close() is None


def test_nothing_is_left_of_a_whole_stream() -> None:
    decoding = EventDecoder()
    decoding.feed(event("ping"))
    assert decoding.close() is None


def test_an_error_event_ends_the_stream() -> None:
    decoding = feed(event("ping"), event("error", error={"type": "overloaded_error", "message": "Overloaded"}), event("message_stop"))
    assert decoding.error == {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    assert not decoding.done


@pytest.mark.parametrize("data", [b"data: {broken\n\n", b"data: [1]\n\n"])
def test_broken_events_are_an_error(data: bytes) -> None:
    decoding = feed(data)
    assert decoding.error
    assert decoding.error["error"]["type"] == "unreadable_stream"
    assert decoding.feed(EVENTS) is None


def test_bytes_that_would_break_clients_are_written_anew() -> None:
    chunk = EventDecoder().feed(
        b'event: content_block_delta\ndata: {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a\xff"}}\n\n'
    )
    assert chunk
    assert chunk.deltas == (Delta(text="a\ufffd"),)
    assert "a\ufffd" in chunk.raw.decode()
    assert chunk.raw.startswith(b"event: content_block_delta\ndata: {")


def test_an_endless_event_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "MAX_EVENT", 10)
    decoding = feed(b"data: {}")
    assert decoding.error is None
    decoding.feed(b"x" * 20)
    assert decoding.error


# --- chat chunks


def chunks_of(raw: bytes) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in raw.decode().split("\n\n") if line]
    return [line if line == "[DONE]" else json.loads(line) for line in lines]


@pytest.mark.parametrize("include_usage", [True, False])
def test_the_events_become_chat_chunks(include_usage: bool) -> None:
    _, found = decode(EVENTS, 60, ChunkWriter("m", include_usage=include_usage))
    assert {chunk.protocol for chunk in found} == {""}
    written = chunks_of(b"".join(chunk.raw for chunk in found))
    assert written.pop() == "[DONE]"
    if include_usage:
        last = written.pop()
        assert last["choices"] == []
        assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 6}
        assert last["usage"]["total_tokens"] == 21
    deltas = [chunk["choices"][0]["delta"] for chunk in written]
    assert deltas == [
        {"role": "assistant", "content": ""},
        {"reasoning_content": "Hm."},
        {"content": "I look."},
        {"tool_calls": [{"index": 0, "id": "toolu_1", "type": "function", "function": {"name": "add", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"a":1}'}}]},
        {"tool_calls": [{"index": 1, "id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": ""}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {},
    ]
    assert [chunk["choices"][0]["finish_reason"] for chunk in written] == [None] * 7 + ["tool_calls"]
    assert {(chunk["object"], chunk["model"]) for chunk in written} == {("chat.completion.chunk", "m")}


def test_events_that_say_nothing_write_nothing() -> None:
    decoding = EventDecoder(ChunkWriter("m", include_usage=False))
    assert decoding.feed(event("ping")) is None


def test_counts_alone_are_no_chunk() -> None:
    decoding = EventDecoder(ChunkWriter("m", include_usage=False))
    decoding.feed(event("message_start", message={}))
    chunk = decoding.feed(event("message_delta", delta={}, usage={"output_tokens": 3}))
    assert chunk
    assert chunk.raw == b""


def test_usage_that_was_not_counted_is_not_written() -> None:
    decoding = EventDecoder(ChunkWriter("m", include_usage=True))
    chunk = decoding.feed(event("message_stop"))
    assert chunk
    assert chunk.raw == b"data: [DONE]\n\n"


def test_a_whole_message_becomes_a_chat_completion() -> None:
    completion = to_completion({**WHOLE, "usage": {**WHOLE["usage"], "output_tokens_details": {"thinking_tokens": 4}}})
    assert completion["choices"] == [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "I look.",
                "refusal": None,
                "reasoning_content": "Hm.",
                "tool_calls": [
                    {"id": "toolu_1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}},
                    {"id": "toolu_2", "type": "function", "function": {"name": "now", "arguments": "{}"}},
                ],
            },
            "logprobs": None,
            "finish_reason": "tool_calls",
        }
    ]
    assert completion["usage"]["prompt_tokens"] == 12


def test_a_message_without_text_has_none_where_it_calls_and_an_empty_one_else() -> None:
    call = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
    assert to_completion({"content": [call]})["choices"][0]["message"]["content"] is None
    assert to_completion({"content": []})["choices"][0]["message"]["content"] == ""
    assert "usage" not in to_completion({"content": []})


def test_a_whole_message_without_counts_still_streams() -> None:
    decoding = feed(message_events({"content": [], "stop_reason": None}))
    assert decoding.done
    assert decoding.finished
