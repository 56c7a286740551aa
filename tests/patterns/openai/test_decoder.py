"""The decoder reads and repairs what real servers stream (FAULTS 32-38)."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.upstream import chunk, sse
from webapp.patterns.openai.decoder import StreamDecoder
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import Delta, StreamChunk, Usage

DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 9}


def decoder(**options: Any) -> StreamDecoder:
    numbers = itertools.count()
    return StreamDecoder(make_id=lambda: f"made_{next(numbers)}", **options)


def decode(*pieces: bytes, **options: Any) -> tuple[StreamDecoder, list[StreamChunk]]:
    """All packets of a stream that came in these pieces, up to its end."""
    reader = decoder(**options)
    packets = [reader.feed(piece) for piece in pieces]
    packets.append(reader.close())
    return reader, [packet for packet in packets if packet]


def deltas(*pieces: bytes) -> list[Delta]:
    return [delta for packet in decode(*pieces)[1] for delta in packet.deltas]


def accumulated(*pieces: bytes) -> Accumulator:
    """The deltas that a consumer reads from the stream."""
    whole = Accumulator()
    for delta in deltas(*pieces):
        whole.add(delta)
    return whole


def relayed(*pieces: bytes, **options: Any) -> list[Any]:
    """The events that a client behind the gateway gets, decoded."""
    raw = b"".join(packet.raw for packet in decode(*pieces, **options)[1])
    events = [event.removeprefix(b"data: ") for event in raw.split(b"\n\n") if event]
    return [event.decode() if event == b"[DONE]" or event[:1] != b"{" else json.loads(event) for event in events]


def call(**fields: Any) -> dict[str, Any]:
    """A chunk with one fragment of a tool call."""
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return chunk({"tool_calls": [{**fields, "function": function}]})


def calls(*events: Any) -> list[tuple[str, str, str]]:
    return [(one.id, one.name, one.arguments) for one in accumulated(sse(*events)).tool_calls]


# --- text and its frame


def test_text_comes_as_it_is_sent_and_the_bytes_are_relayed_untouched() -> None:
    body = (
        sse(chunk({"role": "assistant", "content": ""}), chunk({"content": "Hé"}), chunk({"content": "llo"}), chunk(finish="stop")) + DONE
    )
    reader, packets = decode(body)
    assert b"".join(packet.raw for packet in packets) == body
    assert [delta.text for delta in packets[0].deltas] == ["Hé", "llo", ""]
    assert (reader.finished, reader.done, reader.error) == (True, True, None)


@pytest.mark.parametrize(
    "opening",
    [{"role": "assistant"}, {"role": ""}, {"role": None}, {"content": None}, {"role": "assistant", "content": None}, {}, None],
)
def test_opening_chunks_bring_nothing(opening: dict[str, Any] | None) -> None:
    """FAULTS 32: a first chunk with a role only, `content: null`."""
    assert deltas(sse(chunk(opening))) == []


def test_the_role_may_come_with_every_delta() -> None:
    said = accumulated(
        sse(chunk({"role": "assistant", "content": "a"}), chunk({"role": "", "content": "b"}), chunk({"content": "c"}, finish="stop"))
    )
    assert (said.text, said.finish_reason) == ("abc", "stop")


def test_a_finish_reason_may_be_absent_or_come_alone() -> None:
    bare = {"choices": [{"index": 0, "delta": {"content": "a"}}]}
    reader, _ = decode(sse(bare))
    assert not reader.finished
    assert decode(sse(bare, chunk(finish="stop")))[0].finished


def test_a_stream_without_any_choice_is_not_finished() -> None:
    """FAULTS 32: chunks with empty `choices`."""
    reader, packets = decode(sse(chunk(choices=[]), {"id": "x"}, chunk(choices=None)), DONE)
    assert reader.done
    assert not reader.finished
    assert all(packet.deltas == () for packet in packets)


def test_every_choice_that_began_must_finish() -> None:
    both = [{"index": number, "delta": {"content": str(number)}, "finish_reason": None} for number in range(2)]
    ends = [chunk(choices=[{"index": number, "delta": {}, "finish_reason": "stop"}]) for number in range(2)]
    assert not decode(sse(chunk(choices=both), ends[1]))[0].finished
    reader, packets = decode(sse(chunk(choices=both), *ends))
    assert reader.finished
    assert [(delta.choice, delta.text) for delta in packets[0].deltas][:2] == [(0, "0"), (1, "1")]


@pytest.mark.parametrize("index", [None, "0", [], {}, True])
def test_a_choice_without_a_proper_index_is_the_first(index: Any) -> None:
    assert deltas(sse({"choices": [{"index": index, "delta": {"content": "a"}}]}))[0].choice == 0


@pytest.mark.parametrize("junk", [7, None, "x", []])
def test_choices_and_deltas_that_are_no_objects_are_passed_over(junk: Any) -> None:
    assert deltas(sse({"choices": [junk, {"delta": junk}, {"delta": {"content": "a"}}]})) == [Delta("a")]


def test_legacy_completions_stream_text() -> None:
    said = accumulated(sse({"choices": [{"text": "Once", "index": 0}]}, {"choices": [{"text": " upon", "finish_reason": "length"}]}))
    assert (said.text, said.finish_reason) == ("Once upon", "length")


def test_content_may_be_parts_or_a_whole_message() -> None:
    parts = chunk({"content": [{"type": "text", "text": "a"}, {"type": "other"}, "b", 7]})
    message = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "c"}, "finish_reason": "stop"}]}
    assert accumulated(sse(parts, message)).text == "abc"


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_reasoning_comes_under_either_name(name: str) -> None:
    """FAULTS 35."""
    said = accumulated(sse(chunk({name: "hm"}), chunk({"content": "a", name: None})))
    assert (said.reasoning, said.text) == ("hm", "a")


def test_reasoning_under_both_names_counts_once_and_may_be_parts() -> None:
    both = chunk({"reasoning": "hm", "reasoning_content": "hm"})
    assert accumulated(sse(both, chunk({"reasoning": [{"text": "!"}]}))).reasoning == "hm!"


def test_a_refusal_is_kept_apart() -> None:
    """FAULTS 35."""
    said = accumulated(sse(chunk({"refusal": "I "}), chunk({"refusal": "won't"}, finish="stop")))
    assert (said.refusal, said.text) == ("I won't", "")
    assert said.message() == {"role": "assistant", "content": None, "refusal": "I won't"}


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("stop", "stop"), ("length", "length"), ("content_filter", "content_filter"), ("tool_calls", "stop"), ("function_call", "stop"),
        ("max_tokens", "length"), ("model_length", "length"), ("eos", "stop"), ("end_turn", "stop"), ("tool_use", "stop"),
    ],
)  # fmt: skip
def test_finish_reasons_are_said_in_openais_words_and_true_to_the_answer(sent: str, meant: str) -> None:
    """FAULTS 33: `"tool_calls"` with none."""
    assert accumulated(sse(chunk({"content": "a"}, finish=sent))).finish_reason == meant
    assert relayed(sse(chunk({"content": "a"}, finish=sent)))[0]["choices"][0]["finish_reason"] == meant


@pytest.mark.parametrize("reason", ["error", "abort"])
def test_an_aborted_answer_is_a_failure(reason: str) -> None:
    reader, _ = decode(sse(chunk({"content": "a"}), chunk(finish=reason)))
    assert reader.error is not None
    assert not reader.finished


# --- usage


@pytest.mark.parametrize(
    "where",
    [chunk(choices=[], usage=USAGE), chunk({"content": "a"}, usage=USAGE), {"choices": [], "x_groq": {"usage": USAGE}}, {"usage": USAGE}],
)
def test_usage_comes_with_or_without_choices(where: Any) -> None:
    """FAULTS 32: a usage chunk with empty `choices`; and with some; and totals that do not add up."""
    found = accumulated(sse(where)).usage
    assert found == Usage(5, 2)
    assert found is not None
    assert found.total_tokens == 7


def test_usage_on_every_chunk_is_a_running_count() -> None:
    events = [
        chunk({"content": "a"}, usage=None),
        chunk({"content": "b"}, usage={"prompt_tokens": 5, "completion_tokens": 1}),
        chunk(usage=USAGE),
    ]
    assert accumulated(sse(*events)).usage == Usage(5, 2)


def test_usage_holds_cached_and_reasoning_tokens_and_no_nonsense() -> None:
    usage = {**USAGE, "prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 1}}
    assert accumulated(sse(chunk(choices=[], usage=usage))).usage == Usage(5, 2, 3, 1)
    odd = {"prompt_tokens": -1, "completion_tokens": "7", "prompt_tokens_details": 3, "completion_tokens_details": [1]}
    assert accumulated(sse(chunk(choices=[], usage=odd))).usage == Usage()


def test_a_usage_chunk_that_nobody_asked_for_is_not_relayed() -> None:
    body = sse(chunk({"content": "a"}), chunk(finish="stop"), chunk(choices=[], usage=USAGE)) + DONE
    events = relayed(body, hide_usage=True)
    assert [event if isinstance(event, str) else bool(event["choices"]) for event in events] == [True, True, "[DONE]"]
    assert accumulated(body).usage == Usage(5, 2)


# --- tool calls (FAULTS 33)


def test_a_call_in_fragments_is_put_together() -> None:
    events = [
        call(index=0, id="call_a", type="function", name="add", arguments=""),
        call(index=0, arguments='{"x"'),
        call(index=0, arguments=":1}"),
    ]
    assert calls(*events) == [("call_a", "add", '{"x":1}')]
    assert relayed(sse(*events)) == events


def test_parallel_calls_may_interleave() -> None:
    events = [
        call(index=0, id="a", name="f", arguments=""),
        call(index=1, id="b", name="g", arguments=""),
        call(index=0, arguments="1"),
        call(index=1, arguments="2"),
    ]
    assert calls(*events) == [("a", "f", "1"), ("b", "g", "2")]


G = call(index=1, id="b", name="g", arguments="{}")
WHOLE = [{"id": "a", "function": {"name": "f", "arguments": {}}}, {"id": "b", "function": {"name": "g", "arguments": {}}}]
NAMELESS = chunk({"tool_calls": [None, {"id": "a", "name": "f", "arguments": "{}"}]})
DIALECTS: dict[str, list[Any]] = {
    "no index": [call(id="a", name="f", arguments="{"), call(arguments="}"), call(id="b", name="g", arguments="{}")],
    "index 0 for each": [call(index=0, id="a", name="f", arguments="{}"), call(index=0, id="b", name="g", arguments="{}")],
    "id repeated": [call(index=0, id="a", name="f", arguments="{"), call(index=0, id="a", arguments="}"), G],
    "all repeated, index 0 for each": [
        call(index=0, id="a", type="function", name="f", arguments="{"),
        call(index=0, id="a", type="function", name="f", arguments="}"),
        call(index=0, id="b", type="function", name="g", arguments="{}"),
    ],
    "whole calls in one chunk, arguments as objects": [chunk({"tool_calls": WHOLE})],
    "indexes with gaps": [call(index=3, id="a", name="f", arguments="{}"), call(index=7, id="b", name="g", arguments="{}")],
    "arguments absent": [call(index=0, id="a", name="f"), call(index=0, arguments="{}"), G],
    "arguments null": [call(index=0, id="a", name="f", arguments=None), call(index=0, arguments="{}"), G],
    "name after id": [call(index=0, id="a"), call(index=0, name="f", arguments="{}"), G],
    "another id on each fragment": [call(index=0, id="a", name="f", arguments="{"), call(index=0, id="x", arguments="}"), G],
    "index only at first": [
        call(index=0, id="a", name="f", arguments="{"),
        call(index=1, id="b", name="g", arguments="{"),
        call(id="a", arguments="}"),
        call(id="b", arguments="}"),
    ],
    "an object, not a list": [chunk({"tool_calls": {"id": "a", "function": {"name": "f", "arguments": "{}"}}}), G],
    "no function object": [NAMELESS, call(id="b", name="g", arguments="{}")],
}


@pytest.mark.parametrize("events", DIALECTS.values(), ids=DIALECTS)
def test_calls_are_told_apart(events: list[Any]) -> None:
    """FAULTS 33: without index, index 0 for each, id repeated or missing, arguments as an object, whole calls."""
    assert calls(*events) == [("a", "f", "{}"), ("b", "g", "{}")]
    repaired = relayed(sse(*events))
    assert calls(*repaired) == [("a", "f", "{}"), ("b", "g", "{}")]
    fragments = [fragment for event in repaired for fragment in event["choices"][0]["delta"]["tool_calls"]]
    assert [fragment["index"] for fragment in fragments if fragment.get("id")] == [0, 1]
    assert all(isinstance(fragment["function"].get("arguments") or "", str) for fragment in fragments)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param(
            [call(index=0, name="f", arguments="{"), call(index=0, arguments="}"), call(index=1, name="g", arguments="{}")], id="indexes"
        ),
        pytest.param([call(index=0, name="f", arguments="{}"), call(index=0, name="g", arguments="{}")], id="names"),
        pytest.param([chunk({"function_call": {"name": "f", "arguments": "{}"}}), call(name="g", arguments="{}")], id="function_call"),
    ],
)
def test_calls_without_ids_are_given_some(events: list[Any]) -> None:
    assert calls(*events) == [("made_0", "f", "{}"), ("made_1", "g", "{}")]


def test_two_calls_of_one_function_without_ids_and_indexes_are_two() -> None:
    assert calls(call(name="f", arguments='{"x":1}'), call(name="f", arguments='{"x":2}')) == [
        ("made_0", "f", '{"x":1}'),
        ("made_1", "f", '{"x":2}'),
    ]


def test_a_name_repeated_on_fragments_of_one_call_is_one_name() -> None:
    broken_on_purpose = call(name="f", arguments='}"}')
    assert calls(call(name="f", arguments='{"x":"'), broken_on_purpose) == [("made_0", "f", '{"x":"}"}')]
    assert calls(call(name="f", arguments='{"x":{}'), call(name="f", arguments="}")) == [("made_0", "f", '{"x":{}}')]


def test_unknown_fields_of_a_repaired_call_are_kept() -> None:
    event = chunk(
        {"tool_calls": [{"id": "a", "extra_content": {"signature": "s"}, "function": {"name": "f", "arguments": "{}", "more": 1}}]}
    )
    fragment = relayed(sse(event))[0]["choices"][0]["delta"]["tool_calls"][0]
    assert fragment == {
        "index": 0,
        "id": "a",
        "type": "function",
        "extra_content": {"signature": "s"},
        "function": {"name": "f", "arguments": "{}", "more": 1},
    }


@pytest.mark.parametrize("nothing", [[], {}, None, "", 7, [7]])
def test_tool_calls_that_hold_none_are_none(nothing: Any) -> None:
    said = accumulated(sse(chunk({"content": "a", "tool_calls": nothing}), chunk({"function_call": "x"}), chunk(finish="stop")))
    assert (said.text, said.tool_calls) == ("a", [])


def test_a_stop_with_calls_is_a_tool_calls() -> None:
    """FAULTS 33: `finish_reason: "stop"` with calls present."""
    assert accumulated(sse(call(index=0, id="a", name="f", arguments="{}"), chunk(finish="stop"))).finish_reason == "tool_calls"


def test_a_length_inside_a_call_stays_a_length() -> None:
    """FAULTS 34: the call is cut off and must not be executed."""
    assert accumulated(sse(call(index=0, id="a", name="f", arguments='{"x'), chunk(finish="length"))).finish_reason == "length"


# --- the frame of events (FAULTS 36)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(sse(chunk({"content": "ab"}, finish="stop")).replace(b"\n", b"\r\n"), id="CRLF"),
        pytest.param(b": ping\n\n: \n" + sse(chunk({"content": "ab"}, finish="stop")), id="comments"),
        pytest.param(sse(chunk({"content": "ab"}, finish="stop")).replace(b"data: ", b"data:"), id="no space"),
        pytest.param(b"id: 7\nevent: message\nretry: 5\n" + sse(chunk({"content": "ab"}, finish="stop")), id="other fields"),
        pytest.param(b'data: {"choices": [{"delta":\ndata: {"content": "ab"}, "finish_reason": "stop"}]}\n\n', id="several data lines"),
        pytest.param(sse(chunk({"content": "a"}), chunk({"content": "b"}, finish="stop")).replace(b"\n\n", b"\n"), id="no empty lines"),
        pytest.param(b"\xef\xbb\xbf" + sse(chunk({"content": "ab"}, finish="stop")), id="byte-order mark"),
        pytest.param(b"\n\n\n" + sse(chunk({"content": "a"})) + b"\n\n" + sse(chunk({"content": "b"}, finish="stop")), id="empty lines"),
        pytest.param(sse(chunk({"content": "ab"}, finish="stop")) + DONE + sse(chunk({"content": "late"})), id="data after [DONE]"),
        pytest.param(sse(chunk({"content": "ab"}, finish="stop")) + b"data: [DONE]", id="no empty line at the end"),
        pytest.param(sse(chunk({"content": "ab"}, finish="stop")) + b"data:\n\n", id="empty data"),
    ],
)  # fmt: skip
def test_frames_of_all_kinds_are_read(body: bytes) -> None:
    said = accumulated(body)
    assert (said.text, said.finish_reason) == ("ab", "stop")
    assert decode(body)[0].error is None
    assert accumulated(b"".join(packet.raw for packet in decode(body)[1])).text == "ab"


def test_done_between_lines_without_empty_ones_ends_the_stream() -> None:
    body = (sse(chunk({"content": "a"})) + DONE + sse(chunk({"content": "late"}))).replace(b"\n\n", b"\n")
    assert accumulated(body).text == "a"


def test_nothing_is_decoded_once_the_stream_is_done() -> None:
    reader, _ = decode(DONE)
    assert reader.feed(sse(chunk({"content": "late"}))) is None
    assert reader.close() is None


# --- failures (FAULTS 37, 38)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(sse({"error": {"message": "boom", "code": 500}}), id="object"),
        pytest.param(sse({"error": "boom"}), id="text"),
        pytest.param(sse({"object": "error", "message": "boom"}), id="vllm"),
        pytest.param(sse({"type": "error", "message": "boom"}), id="type"),
        pytest.param(sse({"detail": "boom"}), id="detail"),
        pytest.param(b'event: error\ndata: {"message": "boom"}\n\n', id="event"),
        pytest.param(b'event: error\ndata: {"error": {"message": "boom"}}\n\n', id="event with error"),
        pytest.param(b"event: error\ndata: boom\n\n", id="event with text"),
        pytest.param(b'error: {"message": "boom"}\n\n', id="llama.cpp"),
        pytest.param(sse({"error": {"message": "boom"}, "choices": []}), id="with choices"),
    ],
)
def test_an_error_in_the_stream_is_found_and_what_came_before_is_kept(body: bytes) -> None:
    """FAULTS 37: an `error` object inside a 200 stream."""
    reader, packets = decode(sse(chunk({"content": "a"})) + body + sse(chunk({"content": "late"})))
    assert "boom" in json.dumps(reader.error)
    assert [delta.text for packet in packets for delta in packet.deltas] == ["a"]
    assert b"boom" not in b"".join(packet.raw for packet in packets)
    assert reader.feed(DONE) is None


@pytest.mark.parametrize(
    "body",
    [b"data: {broken\n\n", b"data: [1]\n\n", b"data: 7\n\n", b"data: hello\n\n", b'data: {"a":1}\ndata: oops\n\n', b"event: error\n\n"],
)
def test_what_cannot_be_read_is_an_error(body: bytes) -> None:
    reader, _ = decode(body)
    assert reader.error is not None


def test_nesting_without_end_is_an_error() -> None:
    reader, _ = decode(b'data: {"a":' + b"[" * 100_000 + b"\n\n")
    assert reader.error is not None


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_line_without_end_is_given_up(pieces: int) -> None:
    """FAULTS 38: a line over 1 MB, whole or in pieces."""
    line = b"data: " + b"x" * 1_100_000 + b"\n\n"
    size = len(line) // pieces + 1
    reader = decoder()
    for start in range(0, len(line), size):
        reader.feed(line[start : start + size])
    assert reader.error is not None
    assert "longer than" in str(reader.error)


def test_comments_without_end_are_no_answer() -> None:
    """FAULTS 38: the reader bounds them; the decoder passes them on."""
    reader, packets = decode(b": ping\n\n" * 1000)
    assert not reader.finished
    assert all(packet.deltas == () for packet in packets)


# --- any split of the same bytes gives the same result (FAULTS 36)

LONG = sse(chunk({"content": "x" * 400})) + b"data: " + b"y" * 900 + b"\n\n"
TEXTS = [chunk({"role": "assistant"}), chunk({"content": "Grüße, 世界 🦊"}), chunk({"content": " …"}), chunk(finish="stop")]
CALLS = [call(id="a", name="f", arguments={"é": 1}), call(name="g", arguments="{"), call(arguments="}"), chunk(finish="stop")]
REASONED = [chunk({"reasoning": "né"}), chunk({"content": "a"}), chunk(finish="eos")]
FAILED = sse({"error": {"message": "boom"}}) + sse(chunk({"content": "x"}))
STREAMS = [
    sse(*TEXTS, chunk(choices=[], usage=USAGE)) + DONE,
    (b": ping\n\n" + sse(*REASONED)).replace(b"\n", b"\r\n"),
    sse(*CALLS) + DONE + sse(chunk({"content": "x"})),
    b"\xef\xbb\xbf\n\n\n" + sse(chunk({"content": "a"})) + b"\n\r\n\n" + FAILED,
    sse(chunk({"content": "a"}), chunk({"content": "b"}, finish="stop")).replace(b"\n\n", b"\n"),
    LONG,
]


@given(stream=st.sampled_from(STREAMS), cuts=st.sets(st.integers(1, 1500), max_size=40))
def test_any_split_gives_the_same_result(stream: bytes, cuts: set[int]) -> None:
    places = [0, *sorted(cut for cut in cuts if cut < len(stream)), len(stream)]
    pieces = [stream[start:end] for start, end in itertools.pairwise(places)]
    whole, split = decode(stream, max_event=800), decode(*pieces, max_event=800)
    assert [(d.done, d.finished, d.error) for d in (whole[0],)] == [(d.done, d.finished, d.error) for d in (split[0],)]
    assert [d for packet in whole[1] for d in packet.deltas] == [d for packet in split[1] for d in packet.deltas]
    assert b"".join(packet.raw for packet in whole[1]) == b"".join(packet.raw for packet in split[1])


@pytest.mark.parametrize("stream", STREAMS)
def test_bytes_may_come_one_by_one(stream: bytes) -> None:
    singly = [bytes([byte]) for byte in stream]
    assert deltas(*singly) == deltas(stream)


@given(st.binary(max_size=300))
def test_no_bytes_at_all_make_it_fail(noise: bytes) -> None:
    decode(noise)
    decode(b"data: {" + noise + b"\n\n")


NAMES = [
    "choices",
    "delta",
    "message",
    "content",
    "tool_calls",
    "function",
    "name",
    "arguments",
    "id",
    "index",
    "usage",
    "error",
    "finish_reason",
    "text",
    "refusal",
    "reasoning",
]
NAMES += ["function_call", "x_groq", "prompt_tokens", "prompt_tokens_details"]
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
JUNK = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4))


@given(JUNK)
def test_no_json_makes_it_fail(junk: Any) -> None:
    decode(sse({"choices": [{"delta": junk, "index": junk, "finish_reason": junk}, junk], "usage": junk}))
    decode(sse({"choices": [{"delta": {"tool_calls": junk, "content": junk, "refusal": junk}}]}), sse({"choices": junk, "error": junk}))
