"""Tokens that no server counted."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

import pytest

from tests.upstream import Upstream, chunk, endless, says, status, stream
from webapp.patterns.openai import usage_estimate
from webapp.patterns.openai.attempt_recorder import Prices
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.tokens import counting
from webapp.patterns.types import AttemptLog, Delta, Request, Usage

HELLO = Request.chat([{"role": "user", "content": "Say hello to all the people."}], model="m")
PROSE = {
    "English": "All human beings are born free and equal in dignity and rights. They are endowed with reason and conscience.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen begabt.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью.",
    "Chinese": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "code": "def total(rows: list[Row]) -> int:\n    return sum(row.prompt_tokens + row.completion_tokens for row in rows)\n",
}


def backend_at(upstream: Upstream) -> OpenAIBackend:
    return OpenAIBackend("up", upstream.base_url, prices=Prices(1, 1))


async def test_a_stream_that_its_caller_leaves_counts_what_came(upstream: Upstream) -> None:
    upstream.default = endless(pace=0.005)
    trail, heard = AttemptLog(), 0
    async with aclosing(backend_at(upstream).stream(HELLO, trail=trail)) as packets:
        async for packet in packets:
            heard += sum(delta.has_content for delta in packet.deltas)
            if heard >= 20:
                break
    [attempt] = trail.attempts
    assert attempt.outcome == "cancelled"
    assert attempt.usage == Usage(11, heard, estimated=True)
    assert attempt.cost == pytest.approx((11 + heard) / 1_000_000)


async def test_a_stream_without_usage_is_estimated_and_one_with_usage_never(upstream: Upstream) -> None:
    upstream.script(stream(chunk({"content": "one two three four " * 10}), chunk(finish="stop"), "data: [DONE]\n\n"))
    upstream.default = says("Hello")
    silent, open_hearted = AttemptLog(), AttemptLog()
    for trail in (silent, open_hearted):
        async with aclosing(backend_at(upstream).stream(HELLO, trail=trail)) as packets:
            assert [packet async for packet in packets]
    assert silent.usage == Usage(11, 47, estimated=True)
    assert open_hearted.usage == Usage(7, 3)
    assert (silent.usage + open_hearted.usage).estimated


async def test_whole_answers_without_usage(upstream: Upstream) -> None:
    answer = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello, all of you."}, "finish_reason": "stop"}]}
    upstream.script(status(200, answer), status(200, {"data": [{"index": 0, "embedding": [1.0]}]}))
    trail = AttemptLog()
    await backend_at(upstream).send(HELLO, trail=trail)
    await backend_at(upstream).send(Request.embedding(["Four words are here."] * 2, model="m"), trail=trail)
    chat, embedding = trail.attempts
    assert chat.usage == Usage(11, 4, estimated=True)
    assert embedding.usage == Usage(10, 0, estimated=True)


async def test_what_failed_before_it_spoke_counts_nothing(upstream: Upstream) -> None:
    upstream.default = status(500)
    trail = AttemptLog()
    with pytest.raises(Exception, match="500"):
        await backend_at(upstream).send(HELLO, trail=trail)
    assert trail.usage == Usage()


@pytest.mark.parametrize("language", PROSE)
def test_a_text_is_estimated_within_a_third(language: str) -> None:
    text = PROSE[language] * 3
    said = usage_estimate.StreamUsageEstimator()
    said.add(Delta(text))
    assert said.tokens == pytest.approx(counting.count_text(text, "gpt-4o"), rel=0.34)


def test_pictures_and_files_are_no_text_and_token_ids_are_tokens() -> None:
    parts: list[dict[str, Any]] = [
        {"type": "text", "text": "What is this?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}},
        {"type": "input_audio", "input_audio": {"data": "A" * 100_000, "format": "wav"}},
    ]
    asked = usage_estimate.streamed({"messages": [{"role": "user", "content": parts}]}, usage_estimate.StreamUsageEstimator())
    assert asked.prompt_tokens < 30
    assert usage_estimate.streamed({"prompt": [1, 2, 3]}, usage_estimate.StreamUsageEstimator()).prompt_tokens == 3
