"""The deltas of a stream become Anthropic's events, in their order."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest

from webapp.patterns.messages import EventEncoder
from webapp.patterns.messages.answers import SIGNATURE
from webapp.patterns.messages.events import PING, PING_SECONDS
from webapp.patterns.types import Delta, StreamChunk, ToolCallDelta, Usage

TEXT = Delta(text="Hi")
STOP = Delta(finish_reason="stop")


def packet(*deltas: Delta, raw: bytes = b"") -> StreamChunk:
    return StreamChunk(raw, deltas)


def encode(*deltas: Delta, **options: Any) -> bytes:
    encoder = EventEncoder(model="asked", **options)
    return b"".join(encoder.feed(packet(delta)) for delta in deltas) + encoder.close(Usage(5, 2))


def events(raw: bytes) -> list[dict[str, Any]]:
    """The data of each event, after a check that its name is its type."""
    found = []
    for block in raw.decode().strip().split("\n\n"):
        if block.startswith(":"):
            found.append({"type": "comment"})
            continue
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


def kinds(raw: bytes) -> list[str]:
    return [event["type"] for event in events(raw)]


async def accumulated(raw: bytes) -> anthropic.types.Message:
    """The message that Anthropic's own package makes of the events."""
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=raw))
    client = anthropic.AsyncAnthropic(api_key="k", base_url="http://test", http_client=httpx2.AsyncClient(transport=transport))
    async with client.messages.stream(model="m", max_tokens=9, messages=[{"role": "user", "content": "hi"}]) as stream:
        return await stream.get_final_message()


def test_a_text_comes_in_anthropics_order() -> None:
    raw = encode(TEXT, Delta(text=" there"), STOP)
    assert kinds(raw) == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start, _, block, first, *_, delta, _ = events(raw)
    assert start["message"]["model"] == "asked"
    assert start["message"]["content"] == []
    assert block == {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    assert first == {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    assert delta["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert delta["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": 2,
    }


async def test_anthropics_package_reads_thinking_text_and_parallel_calls() -> None:
    raw = encode(
        Delta(reasoning="Hm, "),
        Delta(reasoning="so."),
        Delta(text="I look."),
        Delta(tool_calls=(ToolCallDelta(0, "call_1", "add", '{"a": '),)),
        Delta(tool_calls=(ToolCallDelta(0, arguments="1}"),)),
        Delta(tool_calls=(ToolCallDelta(1, "call_2", "now", ""),)),
        Delta(finish_reason="tool_calls", usage=Usage(10, 4, cached_tokens=6)),
        thinking=True,
    )
    message = await accumulated(raw)
    assert [block.to_dict() for block in message.content] == [
        {"type": "thinking", "thinking": "Hm, so.", "signature": SIGNATURE},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "call_1", "name": "add", "input": {"a": 1}},
        {"type": "tool_use", "id": "call_2", "name": "now", "input": {}},
    ]
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens, message.usage.output_tokens) == (4, 6, 4)


def test_each_block_ends_before_the_next_begins() -> None:
    raw = encode(Delta(reasoning="r"), TEXT, Delta(tool_calls=(ToolCallDelta(0, "c", "f", "{}"),)), STOP, thinking=True)
    open_blocks: list[int] = []
    for event in events(raw):
        if event["type"] == "content_block_start":
            assert not open_blocks
            open_blocks.append(event["index"])
        elif event["type"] == "content_block_stop":
            assert open_blocks.pop() == event["index"]
    assert not open_blocks


async def test_fragments_of_an_earlier_call_still_reach_it() -> None:
    first, second = ToolCallDelta(0, "c0", "f", '{"a": '), ToolCallDelta(1, "c1", "g", '{"b": 2}')
    raw = encode(Delta(tool_calls=(first,)), Delta(tool_calls=(second,)), Delta(tool_calls=(ToolCallDelta(0, arguments="1}"),)), STOP)
    message = await accumulated(raw)
    assert [block.input for block in message.content if block.type == "tool_use"] == [{"a": 1}, {"b": 2}]


def test_a_call_begins_once_its_name_is_known() -> None:
    encoder = EventEncoder(model="m")
    assert b"tool_use" not in encoder.feed(packet(Delta(tool_calls=(ToolCallDelta(0, "c0"),))))
    begun = events(encoder.feed(packet(Delta(tool_calls=(ToolCallDelta(0, name="add", arguments="{}"),)))))
    assert begun[0]["content_block"] == {"type": "tool_use", "id": "c0", "name": "add", "input": {}}
    assert begun[1]["delta"] == {"type": "input_json_delta", "partial_json": "{}"}


def test_a_call_that_never_gets_a_name_is_told_at_the_end() -> None:
    raw = encode(Delta(tool_calls=(ToolCallDelta(0, "c0", arguments="{}"),)), STOP)
    assert [event["content_block"]["id"] for event in events(raw) if event["type"] == "content_block_start"] == ["c0"]


def test_reasoning_that_nobody_asked_for_is_a_ping_now_and_then() -> None:
    now = 0.0
    encoder = EventEncoder(model="m", clock=lambda: now)
    encoder.feed(packet(Delta(reasoning="a")))
    assert encoder.feed(packet(Delta(reasoning="b"))) == b""
    now = PING_SECONDS
    assert encoder.feed(packet(Delta(reasoning="c"))) == PING
    assert encoder.feed(packet(Delta(reasoning="d"))) == b""


def test_a_refusal_is_text_and_a_stop_reason() -> None:
    raw = encode(Delta(refusal="No."), STOP)
    assert b'"text":"No."' in raw
    assert events(raw)[-2]["delta"]["stop_reason"] == "refusal"


def test_an_answer_without_content_is_a_message_without_blocks() -> None:
    assert kinds(encode(STOP)) == ["message_start", "ping", "message_delta", "message_stop"]
    assert kinds(encode()) == ["message_start", "ping", "message_delta", "message_stop"]


def test_other_choices_are_left_aside() -> None:
    assert b"other" not in encode(TEXT, Delta(text="other", choice=1), STOP)


def test_the_servers_own_usage_counts() -> None:
    raw = encode(TEXT, STOP, Delta(usage=Usage(100, 50)))
    assert events(raw)[-2]["usage"]["output_tokens"] == 50


@pytest.mark.parametrize(("met", "reason"), [("END", "stop_sequence"), ("other", "end_turn")])
def test_a_stop_sequence_is_named_where_the_server_names_it(met: str, reason: str) -> None:
    encoder = EventEncoder(model="m", stops=["END"])
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop", "stop_reason": met}]}
    encoder.feed(packet(TEXT))
    encoder.feed(packet(STOP, raw=b"data: %b\n\n" % json.dumps(chunk).encode()))
    delta = events(encoder.close())[-2]["delta"]
    assert delta == {"stop_reason": reason, "stop_sequence": met if reason == "stop_sequence" else None}


def test_a_chunk_without_a_stop_reason_of_the_server_ends_the_turn() -> None:
    encoder = EventEncoder(model="m", stops=["END"])
    raw = b'data: {"choices": [{"stop_reason": null}]}\n\ndata: [DONE]\n\n'
    encoder.feed(packet(STOP, raw=raw))
    assert events(encoder.close())[-2]["delta"]["stop_reason"] == "end_turn"


def native(*blocks: dict[str, Any]) -> StreamChunk:
    raw = b"".join(b"event: %b\ndata: %b\n\n" % (block["type"].encode(), json.dumps(block).encode()) for block in blocks)
    return StreamChunk(raw, (), protocol="messages")


START = native(
    {"type": "message_start", "message": {"id": "msg_1", "content": []}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
)


def test_a_native_stream_passes_as_it_came() -> None:
    encoder = EventEncoder(model="m")
    ping = StreamChunk(b"event: ping\ndata: {}\n\n", (), protocol="messages")
    assert encoder.feed(START) == START.raw
    assert encoder.feed(ping) == ping.raw
    assert encoder.close() == b""


def test_another_step_goes_on_after_a_native_stream_that_broke() -> None:
    encoder = EventEncoder(model="m")
    encoder.feed(START)
    switched = encoder.feed(StreamChunk(b"", (), switch="continue"))
    rest = encoder.feed(packet(TEXT)) + encoder.close()
    assert kinds(switched) == ["content_block_stop", "comment"]
    assert kinds(rest) == ["content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop"]
    assert events(rest)[0]["index"] == 1


def test_a_block_that_the_native_stream_ended_is_not_ended_again() -> None:
    encoder = EventEncoder(model="m")
    encoder.feed(START)
    encoder.feed(native({"type": "content_block_stop", "index": 0}))
    assert kinds(encoder.feed(StreamChunk(b"", (), switch="restart"))) == ["comment"]


def test_a_native_step_that_takes_over_is_written_anew() -> None:
    encoder = EventEncoder(model="m")
    encoder.feed(packet(TEXT))
    encoder.feed(StreamChunk(b"", (), switch="restart"))
    taken_over = encoder.feed(StreamChunk(START.raw, (TEXT,), protocol="messages"))
    assert kinds(taken_over) == ["content_block_start", "content_block_delta"]
    assert events(taken_over)[0]["index"] == 1
