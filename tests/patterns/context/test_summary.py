"""A rolling summary in place of what no longer fits."""

from __future__ import annotations

from typing import Any

import pytest

from tests.patterns.backends import Scripted, says
from webapp.patterns.context.summary import Summarized, Summary, fit_with_summary
from webapp.patterns.errors import InputError, ServerFailed
from webapp.patterns.tokens.counting import count_text
from webapp.patterns.types import AttemptLog, Json, Message, Request

MODEL = "gpt-4o"


def conversation(turns: int, words: int = 40) -> list[Message]:
    messages: list[Message] = [{"role": "system", "content": "Be brief."}]
    for number in range(turns):
        messages.append({"role": "user", "content": f"Question {number}." + " word" * words})
        messages.append({"role": "assistant", "content": f"Answer {number}." + " word" * words})
    return [*messages, {"role": "user", "content": "And now?"}]


def summariser() -> Scripted:
    """Says which questions it was given, so that a test sees what was summarized and how often."""

    async def answer(request: Request) -> Json:
        prompt = request.messages[0]["content"]
        found = [number for number in range(200) if f"Question {number}." in prompt]
        return says(f"summary of {found}; before: {'<earlier_summary>' in prompt}")

    return Scripted(answer)


async def fitted(messages: list[Message], backend: Scripted, **options: Any) -> Summarized:
    return await fit_with_summary(messages, backend=backend, **{"window": 1000, "reserve": 100, "model": MODEL, **options})


async def test_what_fits_needs_no_summary() -> None:
    backend, messages = summariser(), conversation(3)
    result = await fitted(messages, backend)
    assert (result.messages, result.summary, result.error, backend.requests) == (messages, None, None, [])
    assert (await fitted(conversation(30), backend, window=None)).summary is None


async def test_what_is_left_out_is_summarized_in_its_place() -> None:
    backend, messages = summariser(), conversation(30)
    trail = AttemptLog()
    result = await fitted(messages, backend, trail=trail)
    assert result.summary is not None
    assert result.messages[0] == messages[0]
    assert result.messages[1]["role"] == "system"
    assert result.summary.text in result.messages[1]["content"]
    assert "Question 0." not in "".join(str(message) for message in result.messages)
    assert result.summary.text.startswith("summary of [0, 1, 2")
    assert set(result.report.left_out) == set(result.summary.covers)
    assert result.report.budget is not None
    assert result.report.tokens <= result.report.budget
    assert result.messages[2:] == [message for index, message in enumerate(messages) if index and index not in result.summary.covers]
    assert len(trail.attempts) == 1


async def test_a_message_is_summarized_once_and_room_is_made_for_several_turns() -> None:
    backend = summariser()
    previous: Summary | None = None
    summarized: list[str] = []
    for turns in range(5, 60):
        result = await fitted(conversation(turns), backend, previous=previous)
        if result.summary is not previous:
            assert result.summary is not None
            summarized.append(result.summary.text)
        previous = result.summary
    assert len(backend.requests) <= 55 / 3
    numbers = [number for text in summarized for number in eval(text.split(" of ")[1].split(";")[0])]
    assert numbers == list(range(len(numbers)))
    assert summarized[0].endswith("before: False")
    assert all(text.endswith("before: True") for text in summarized[1:])


async def test_a_summary_of_messages_that_were_edited_since_is_not_used() -> None:
    backend, messages = summariser(), conversation(30)
    first = await fitted(messages, backend)
    edited = [*messages[:1], {"role": "user", "content": "Question 0. Another one"}, *messages[2:]]
    second = await fitted(edited, backend, previous=first.summary)
    assert len(backend.requests) == 2
    assert second.summary is not None
    assert second.summary.text.endswith("before: False")
    assert not first.summary or not first.summary.still_fits(messages[:5])


@pytest.mark.parametrize("answer", [None, "  "])
async def test_when_no_summary_can_be_had_the_conversation_goes_out_without(answer: str | None) -> None:
    async def failing(request: Request) -> Json:
        if answer is None:
            raise ServerFailed("503")
        return says(answer)

    messages = conversation(30)
    result = await fitted(messages, Scripted(failing))
    assert result.error is not None
    assert result.summary is None
    assert result.report.left_out
    good = await fitted(messages, summariser())
    longer = conversation(60)
    stale = await fitted(longer, Scripted(failing), previous=good.summary)
    assert (stale.summary, stale.error is None) == (good.summary, False)
    assert good.summary is not None
    assert good.summary.text in stale.messages[1]["content"]


async def test_pins_and_tool_calls_keep_their_places_and_indexes() -> None:
    messages = conversation(30)
    messages[3:3] = [
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "function": {"name": "lookup", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "a", "content": [{"type": "text", "text": "found"}, {"type": "image_url"}]},
    ]
    backend = summariser()
    result = await fitted(messages, backend, pins=[10])
    assert messages[10] in result.messages
    assert 10 not in result.report.left_out
    prompt = backend.requests[0].messages[0]["content"]
    assert "[calls lookup({})]" in prompt
    assert "tool: found\n[image_url]" in prompt


async def test_a_summary_and_what_is_summarized_are_bounded() -> None:
    async def talks(request: Request) -> Json:
        assert count_text(request.messages[0]["content"], MODEL) <= 1000 - 60, "the prompt and the answer fit into the window"
        return says("talk " * 5000)

    result = await fitted(conversation(200), Scripted(talks), max_tokens=60)
    assert result.summary is not None
    assert count_text(result.summary.text, MODEL) <= 60


async def test_where_nothing_is_left_out_no_summary_is_asked_for() -> None:
    backend = summariser()
    result = await fitted([{"role": "user", "content": "Long." + " word" * 2000}], backend)
    assert (result.report.cut, result.summary, result.error, backend.requests) == ((0,), None, None, [])


async def test_tools_that_take_most_of_the_window_leave_room_for_a_small_summary() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": " word" * 650}}]
    result = await fitted(conversation(30), summariser(), tools=tools, max_tokens=40)
    assert result.summary is not None
    assert result.error is None
    assert set(result.report.left_out) == set(result.summary.covers)


async def test_a_summary_for_which_there_is_no_room_is_done_without() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": " word" * 840}}]
    backend = summariser()
    result = await fitted(conversation(30), backend, tools=tools)
    assert (result.messages[-1]["content"], result.summary, result.error, backend.requests) == ("And now?", None, None, [])
    pinned = await fitted(conversation(30), backend, pins=range(1, 21))
    assert isinstance(pinned.error, InputError), "what must stay fits by itself, and not with a summary beside it"
    assert pinned.report.left_out


async def test_a_lone_long_message_is_cut_and_reported_at_its_own_index() -> None:
    messages = [*conversation(30)[:-1], {"role": "user", "content": "Long." + " word" * 2000}]
    result = await fitted(messages, summariser())
    assert result.report.cut == (len(messages) - 1,)
    with pytest.raises(InputError):
        await fitted(messages, summariser(), window=120)
