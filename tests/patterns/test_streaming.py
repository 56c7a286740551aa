"""Deltas put together again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import Delta, StreamChunk, ToolCall, ToolCallDelta, Usage

TEXTS = st.text(max_size=4)
FRAGMENTS = st.builds(ToolCallDelta, st.integers(0, 2), TEXTS, TEXTS, TEXTS)
DELTAS = st.builds(
    Delta, TEXTS, TEXTS, TEXTS, st.lists(FRAGMENTS, max_size=2).map(tuple), st.sampled_from(["", "stop"]), st.none(), st.integers(0, 1)
)


def accumulated(*deltas: Delta, choice: int = 0) -> Accumulator:
    whole = Accumulator(choice)
    for delta in deltas:
        whole.add(delta)
    return whole


def test_everything_adds_up() -> None:
    whole = accumulated(
        Delta("He", reasoning="h"),
        Delta("llo", reasoning="m", refusal="no"),
        Delta(tool_calls=(ToolCallDelta(1, "b", "g", "{"), ToolCallDelta(0, "a", "f"))),
        Delta(tool_calls=(ToolCallDelta(1, arguments="}"),), finish_reason="tool_calls", usage=Usage(1, 2)),
        Delta(usage=Usage(3, 4), choice=1),
    )
    assert (whole.text, whole.reasoning, whole.refusal, whole.finish_reason, whole.usage) == (
        "Hello",
        "hm",
        "no",
        "tool_calls",
        Usage(3, 4),
    )
    assert whole.tool_calls == [ToolCall("a", "f", ""), ToolCall("b", "g", "{}")]
    assert whole.message() == {
        "role": "assistant",
        "content": "Hello",
        "refusal": "no",
        "tool_calls": [call.as_message_part() for call in whole.tool_calls],
    }


def test_other_choices_are_left_aside() -> None:
    assert accumulated(Delta("a"), Delta("b", choice=1), choice=1).text == "b"


def test_a_message_without_text_has_null_only_beside_calls_or_a_refusal() -> None:
    assert accumulated().message() == {"role": "assistant", "content": ""}
    assert accumulated(Delta(refusal="no")).message() == {"role": "assistant", "content": None, "refusal": "no"}
    assert accumulated(Delta(tool_calls=(ToolCallDelta(0, "a", "f", "{}"),))).message()["content"] is None


def test_a_restart_voids_what_came_before() -> None:
    whole = Accumulator()
    for packet in (
        StreamChunk(b"", (Delta("gone", finish_reason="length", usage=Usage(1)),)),
        StreamChunk(b"", (), switch="restart"),
        StreamChunk(b"", (Delta("new "),)),
        StreamChunk(b"", (), switch="continue"),
        StreamChunk(b"", (Delta("answer"),)),
    ):
        whole.add_packet(packet)
    assert (whole.text, whole.finish_reason, whole.usage) == ("new answer", "", None)


@given(st.lists(DELTAS, max_size=12), st.data())
def test_any_grouping_into_packets_gives_the_same(deltas: list[Delta], data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(deltas)))
    grouped = Accumulator()
    for part in (deltas[:cut], deltas[cut:]):
        grouped.add_packet(StreamChunk(b"", tuple(part)))
        assert grouped.text.startswith(accumulated(*deltas[:cut]).text[:1])
    singly = accumulated(*deltas)
    assert (grouped.message(), grouped.reasoning, grouped.finish_reason) == (singly.message(), singly.reasoning, singly.finish_reason)
