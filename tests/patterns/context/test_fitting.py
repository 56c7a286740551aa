"""Fitting conversations into windows: what is kept, what goes, what is cut. FAULTS 31."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.patterns.context.fitting import Fitted, afit, fit, groups_of
from webapp.patterns.context.truncation import cut_text
from webapp.patterns.errors import InputError
from webapp.patterns.tokens.counting import Counter, count_messages, count_text, counter_for
from webapp.patterns.types import Message

MODEL = "gpt-4o"
WORD = " word"  # one token


def says(role: str, words: int = 1, **fields: Any) -> Message:
    return {"role": role, "content": WORD * words, **fields}


def calls(*ids: str) -> Message:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": i, "type": "function", "function": {"name": "f", "arguments": "{}"}} for i in ids],
    }


def replies(identifier: str, words: int = 1) -> Message:
    return says("tool", words, tool_call_id=identifier)


def kept(messages: list[Message], fitted: Fitted) -> list[int]:
    return [index for index in range(len(messages)) if index not in fitted.report.left_out]


def fit_words(messages: list[Message], words: int, **options: Any) -> Fitted:
    """Fit into a window of so many tokens, nothing reserved and no margin."""
    return fit(messages, window=words, model=MODEL, margin=0, **options)


# --- what is kept


def test_a_conversation_that_fits_is_untouched() -> None:
    messages = [says("system"), says("user", 10), calls("a"), replies("a"), says("assistant"), replies("orphan"), says("user")]
    fitted = fit(messages, window=8192, reserve=1024, model=MODEL)
    assert fitted.messages == messages
    assert fitted.report.untouched
    assert fitted.report.tokens == fitted.report.before == count_messages(messages, MODEL).tokens
    assert fitted.report.fill == pytest.approx(fitted.report.tokens / 8192)


def test_an_unknown_window_leaves_nothing_out() -> None:
    fitted = fit([says("user", 100_000)], window=None, model=MODEL)
    assert fitted.report.untouched
    assert (fitted.report.budget, fitted.report.fill) == (None, None)


def test_the_budget_is_the_window_less_reserve_and_margin() -> None:
    messages = [says("user")]
    assert fit(messages, window=1000, reserve=300, model=MODEL).report.budget == 692
    assert fit(messages, window=1000, reserve=300, model="llama-3.1-8b").report.budget == 650
    assert fit(messages, window=1000, reserve=300, model=MODEL, margin=100).report.budget == 600


def test_the_oldest_turns_go_first_and_whole() -> None:
    messages = [says("system"), *[says(role, 20) for _ in range(10) for role in ("user", "assistant")], says("user", 5)]
    fitted = fit_words(messages, 130)
    assert kept(messages, fitted) == [0, 17, 18, 19, 20, 21]
    assert fitted.report.left_out == tuple(range(1, 17))


def test_an_answer_is_not_kept_without_its_question() -> None:
    messages = [says("user", 90), says("assistant", 2), says("user", 2)]
    assert kept(messages, fit_words(messages, 60)) == [2]


def test_instructions_are_kept_wherever_they_stand() -> None:
    messages = [says("system", 5), says("user", 50), says("developer", 5), says("assistant", 50), says("user", 5)]
    assert kept(messages, fit_words(messages, 80)) == [0, 2, 4]


def test_pins_are_kept_with_their_whole_group() -> None:
    messages = [says("user", 50), calls("a", "b"), replies("a", 5), replies("b", 5), says("assistant", 50), says("user", 5)]
    fitted = fit_words(messages, 100, pins=[2, 99])
    assert kept(messages, fitted) == [1, 2, 3, 5]


def test_tool_calls_and_all_their_replies_stay_or_go_together() -> None:
    messages = [says("user"), calls("a"), replies("a", 60), calls("b", "c"), replies("c", 20), replies("b", 20), says("assistant", 2)]
    assert kept(messages, fit_words(messages, 100)) == [0, 3, 4, 5, 6]
    assert kept(messages, fit_words(messages, 60)) == [0, 6]


def test_of_an_old_turn_the_work_of_tools_goes_before_question_and_answer() -> None:
    turn = [says("user", 5), calls("a"), replies("a", 200), says("assistant", 5)]
    messages = [*turn, *turn, says("user", 5)]
    assert kept(messages, fit_words(messages, 300)) == [0, 3, 4, 5, 6, 7, 8]
    assert kept(messages, fit_words(messages, 80)) == [0, 3, 4, 7, 8]
    assert kept(messages, fit_words(messages, 20)) == [8]


def test_a_reply_belongs_to_the_latest_call_of_its_id() -> None:
    """Some servers count their ids from zero in each turn."""
    messages = [calls("0"), replies("0"), says("user"), calls("0"), replies("0"), replies("0")]
    assert groups_of(messages) == [[0, 1], [2], [3, 4, 5]]


def test_a_reply_without_id_belongs_to_the_call_before_it_and_an_orphan_to_nobody() -> None:
    messages = [replies("x"), calls("a"), says("tool"), says("user"), replies("gone"), calls("b"), says("user"), replies("b")]
    assert groups_of(messages) == [[0], [1, 2], [3], [4], [5, 7], [6]]


def test_without_any_user_message_the_newest_are_kept() -> None:
    messages = [says("assistant", 20) for _ in range(5)]
    assert kept(messages, fit_words(messages, 60)) == [3, 4]


def test_tools_and_images_take_room_too() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": WORD * 60}}
    messages = [says("user", 20), says("assistant", 20), says("user", 20)]
    assert fit_words(messages, 90).report.untouched
    assert kept(messages, fit_words(messages, 120, tools=[tool])) == [2]
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}}
    pictured = [{"role": "user", "content": [image]}, says("assistant", 20), says("user", 20)]
    assert kept(pictured, fit_words(pictured, 100)) == [2]


def test_a_server_that_counts_more_gets_less() -> None:
    messages = [says("user", 20), says("assistant", 20), says("user", 20)]
    fitted = fit_words(messages, 90, scale=1.5)
    assert kept(messages, fitted) == [2]
    assert fitted.report.tokens == -(-count_messages(messages[2:], MODEL).tokens * 3 // 2)


# --- what is cut


def test_a_lone_message_that_is_too_long_is_cut_in_the_middle_and_says_so() -> None:
    messages = [says("system"), {"role": "user", "content": "Start." + WORD * 5000 + " The end."}]
    fitted = fit_words(messages, 300)
    text = fitted.messages[1]["content"]
    assert text.startswith("Start. word")
    assert text.endswith("word The end.")
    assert "tokens left out …]" in text
    assert fitted.report.cut == (1,)
    assert fitted.report.tokens <= 300
    assert messages[1]["content"].count("word") == 5000


def test_a_huge_tool_result_is_cut_and_the_question_is_not() -> None:
    messages = [says("user", 30), calls("a"), replies("a", 50_000)]
    fitted = fit_words(messages, 500)
    assert fitted.report.cut == (2,)
    assert fitted.messages[:2] == messages[:2]


def test_the_longest_texts_lose_most() -> None:
    messages = [
        says("system", 10),
        {"role": "user", "content": [{"type": "text", "text": WORD * 900}, {"type": "text", "text": WORD * 40}]},
    ]
    fitted = fit_words(messages, 500)
    long, short = fitted.messages[1]["content"]
    assert short["text"] == WORD * 40
    assert 350 < count_text(long["text"], MODEL) < 450


def test_images_go_before_texts_are_cut_to_nothing() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = [says("system", 10), {"role": "user", "content": [{"type": "text", "text": WORD * 50}, image]}]
    fitted = fit_words(messages, 600)
    text, placeholder = fitted.messages[1]["content"]
    assert text["text"] == WORD * 50
    assert placeholder == {"type": "text", "text": "[image left out: it does not fit into the context window]"}
    assert fitted.report.cut == (1,)


def test_texts_that_fit_once_images_are_gone_stay_whole() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    messages = [{"role": "user", "content": [{"type": "text", "text": WORD * 600}, image, image]}]
    fitted = fit_words(messages, 1000)
    assert fitted.messages[0]["content"][0]["text"] == WORD * 600


def test_instructions_are_cut_last() -> None:
    fitted = fit_words([says("system", 5000), says("user", 40), {"role": "user", "content": None}], 400)
    assert fitted.report.cut == (0,)
    assert fitted.report.tokens <= 400


def test_what_cannot_fit_at_all_is_the_callers_error() -> None:
    tool = {"type": "function", "function": {"name": "f", "description": WORD * 600}}
    for messages in ([says("user", 100)], [], [{"role": "user", "content": None}], [calls(*map(str, range(100)))]):
        with pytest.raises(InputError, match="larger window") as caught:
            fit_words(messages, 400, tools=[tool])
        assert caught.value.code == "context_length_exceeded"


@settings(deadline=None)
@given(st.text(max_size=400), st.integers(24, 120))
def test_a_cut_text_is_never_longer_than_asked(text: str, limit: int) -> None:
    counter = counter_for(MODEL)
    assert count_text(cut_text(text, limit, counter), MODEL) <= limit
    if count_text(text, MODEL) <= limit:
        assert cut_text(text, limit, counter) == text


class Characters(Counter):
    """A token for each character: for such a model the marker itself is long."""

    def encode(self, text: str) -> list[int]:
        return [ord(char) for char in text]

    def decode(self, tokens: Sequence[int]) -> str:
        return "".join(map(chr, tokens))


@given(st.integers(50, 200))
def test_a_marker_that_takes_more_room_than_expected_still_fits(limit: int) -> None:
    short = cut_text("0123456789" * 100, limit, Characters("o200k_base"))
    assert len(short) <= limit
    assert "left out" in short


def test_a_text_cut_to_less_than_its_marker_keeps_its_beginning() -> None:
    assert cut_text("one two three four five", 3, counter_for(MODEL)) == "one two three"


# --- at any input

ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool"])
TEXTS = st.one_of(st.none(), st.text(max_size=30), st.integers(1, 400).map(lambda words: WORD * words))


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    messages: list[Message] = []
    for number in range(draw(st.integers(0, 14))):
        role = draw(ROLES)
        message: Message = {"role": role, "content": draw(TEXTS)}
        if role == "assistant" and draw(st.booleans()):
            message = {**calls(*[f"{number}.{i}" for i in range(draw(st.integers(1, 3)))]), "content": message["content"]}
        if role == "tool":
            known = [call["id"] for earlier in messages for call in earlier.get("tool_calls", ())]
            message["tool_call_id"] = draw(st.sampled_from([*known, "orphan"]))
        messages.append(message)
    return messages


@settings(max_examples=200, deadline=None)
@given(
    conversations(), st.sampled_from([60, 150, 300, 600, 1000, 2000]), st.lists(st.integers(0, 13), max_size=2), st.sampled_from([1.0, 1.3])
)
def test_whatever_comes_in_a_fitted_conversation_keeps_its_promises(
    messages: list[Message], window: int, pins: list[int], scale: float
) -> None:
    try:
        fitted = fit(messages, window=window, reserve=50, model=MODEL, pins=pins, scale=scale)
    except InputError:
        least = [{**message, "content": WORD * 24} if message["content"] else message for message in messages]
        smallest = fit(least, window=10**6, model=MODEL, pins=pins, scale=scale).report.before
        assert smallest > window - 50 - max(8, window // 20), "only what cannot fit is refused"
        return
    report, indexes = fitted.report, kept(messages, fitted)
    assert report.budget is not None
    if report.before <= report.budget:
        assert fitted.messages == messages
        return
    assert report.tokens <= report.budget, "it fits"
    assert report.tokens == -int(-count_messages(fitted.messages, MODEL).tokens * scale // 1), "the report is true"
    whole = [message for index, message in zip(indexes, fitted.messages, strict=True) if index not in report.cut]
    assert whole == [messages[index] for index in indexes if index not in report.cut], "in order and unchanged, but for what is cut"
    for group in groups_of(messages):
        assert len({index in indexes for index in group}) == 1, "groups are atomic"
    instructions = [index for index, message in enumerate(messages) if message["role"] in {"system", "developer"}]
    users = [index for index, message in enumerate(messages) if message["role"] == "user"]
    required = {*instructions, *users[-1:], *(pin for pin in pins if pin < len(messages)), *range(len(messages))[-1:]}
    assert required <= set(indexes), "what must stay stays"
    assert not report.cut or all(set(group) & required for group in groups_of(messages) if group[0] in indexes), (
        "cutting is the last resort"
    )
    again = fit(fitted.messages, window=window, reserve=50, model=MODEL, scale=scale)
    assert again.messages == fitted.messages, "fitting twice is fitting once"


async def test_long_histories_are_fitted_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[Any] = []

    async def to_thread(function: Any, *arguments: Any, **options: Any) -> Any:
        threads.append(function)
        return function(*arguments, **options)

    monkeypatch.setattr(asyncio, "to_thread", to_thread)
    messages = [says("user", 20_000 + number) for number in range(3)]
    fitted = await afit(messages, window=8192, model=MODEL)
    assert threads == [fit]
    assert await afit(messages, window=8192, model=MODEL) == fitted
    assert threads == [fit, fit], "what was counted before may still have to be cut"
    await afit([says("user", 100)], window=8192, model=MODEL)
    assert len(threads) == 2
