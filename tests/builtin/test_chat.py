"""The built-in backend, spoken to by the openai package itself."""

from __future__ import annotations

import json
import time
from typing import Any

import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builtin.talk import CALCULATOR, MODEL, REPORT, SEARCH, say, text_of
from webapp.builtin.model import TOOL_WORDS, respond
from webapp.builtin.protocol import read_chat


class TestFirstMinute:
    @pytest.mark.parametrize(
        ("question", "answer"),
        [
            ("What is 17*23?", "**391**"),
            ("what's 15% of 80", "**12**"),
            ("2+2", "**4**"),
            ("What is 1,234 * 2 and 3^4?", "**2468**\n3^4 = **81**"),
            ("square root of 16 plus 2", "**6**"),
            ("5!", "**120**"),
            ("12 divided by 5, please", "**2.4**"),
            ("1/0", "Division by zero"),
            ("hello", "Hello! I am **patchbay-builtin**"),
            ("", "Hello!"),
            ("Who are you?", "**not a language model**"),
            ("what can you do?", "**not a language model**"),
            ("How do I connect Ollama?", "add_backend --name ollama --base-url http://localhost:11434/v1"),
            ("openai?", "--api-key-env OPENAI_API_KEY"),
            ("how do I add a backend", "| vLLM | `http://localhost:8001/v1` |"),
            ("thanks!", "welcome"),
            ("bye", "Goodbye"),
            ("What is the capital of France?", "I cannot answer that"),
            ("2026-11-22", "I cannot answer that"),
            ("summarize", "after a colon"),
            ("Write a title for this chat: How to bake bread in a wood oven", "Bake bread wood oven"),
        ],
    )
    async def test_it_answers_sensibly(self, client: openai.AsyncOpenAI, question: str, answer: str) -> None:
        assert answer in await text_of(client, question)

    async def test_it_summarizes_by_quoting(self, client: openai.AsyncOpenAI) -> None:
        answer = await text_of(client, f"Summarize in two sentences: {REPORT}")
        quoted = [line[2:] for line in answer.splitlines() if line.startswith("- ")]
        assert len(quoted) == 2
        assert all(sentence in REPORT for sentence in quoted)
        assert "When a backend fails, the next backend in the chain answers." in quoted

    async def test_it_finds_the_answer_in_a_pasted_text(self, client: openai.AsyncOpenAI) -> None:
        answer = await text_of(client, f"{REPORT}\n\nWhat was served at lunch?")
        assert answer.startswith("From the text above:\n\n> Lunch was served at noon.")

    async def test_it_finds_the_answer_in_an_earlier_message(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": [{"type": "text", "text": REPORT}]},
                {"role": "assistant", "content": "Noted."},
                {"role": "user", "content": "Which team made it?"},
            ],
        )
        assert "> It was made by a small team in 2025." in (answer.choices[0].message.content or "")


class TestStream:
    async def test_the_pieces_are_the_whole_answer_and_usage_comes_last(self, client: openai.AsyncOpenAI) -> None:
        whole = await say(client, "Who are you?")
        stream = await client.chat.completions.create(
            model=MODEL,
            messages=[{"role": "user", "content": "Who are you?"}],
            stream=True,
            stream_options={"include_usage": True},
        )
        chunks = [chunk async for chunk in stream]
        assert chunks[0].choices[0].delta.role == "assistant"
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks[:-1])
        assert text == whole.choices[0].message.content
        assert [chunk.choices[0].finish_reason for chunk in chunks[-3:-1]] == [None, "stop"]
        assert (chunks[-1].choices, chunks[-1].usage) == ([], whole.usage)
        assert len({chunk.id for chunk in chunks}) == 1

    async def test_no_usage_unless_asked(self, client: openai.AsyncOpenAI) -> None:
        stream = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hello"}], stream=True)
        assert all([chunk.usage is None and chunk.choices async for chunk in stream])

    async def test_the_package_puts_streamed_calls_together(self, client: openai.AsyncOpenAI) -> None:
        messages: Any = [{"role": "user", "content": "What is 2+3 and 4*5?"}]
        async with client.chat.completions.stream(model=MODEL, messages=messages, tools=[CALCULATOR]) as stream:
            final = await stream.get_final_completion()
        calls = final.choices[0].message.tool_calls or []
        assert [json.loads(call.function.arguments)["expression"] for call in calls] == ["2+3", "4*5"]
        assert final.choices[0].finish_reason == "tool_calls"


class TestLimits:
    async def test_max_tokens_cuts_and_says_so(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "Who are you?", max_tokens=5)
        assert answer.choices[0].finish_reason == "length"
        assert answer.usage
        assert answer.usage.completion_tokens == 5
        assert answer.choices[0].message.content == "I am **patchbay-"

    async def test_max_tokens_cuts_inside_a_tool_call_too(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 2+3 and 4*5?", tools=[CALCULATOR], max_completion_tokens=3)
        assert answer.choices[0].finish_reason == "length"
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
            json.loads(call.function.arguments)

    async def test_it_stops_before_a_stop(self, client: openai.AsyncOpenAI) -> None:
        assert await text_of(client, "Who are you?", stop=["nothing like it", "**"]) == "I am "
        assert await text_of(client, "Who are you?", stop=" am") == "I"

    async def test_n_gives_that_many_choices(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "2+2", n=3)
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        assert {choice.message.content for choice in answer.choices} == {"2+2 = **4**"}


class TestOtherEndpoints:
    async def test_plain_completions(self, client: openai.AsyncOpenAI) -> None:
        answer = await client.completions.create(model=MODEL, prompt=["2+2", "3*3"])
        assert [choice.text for choice in answer.choices] == ["2+2 = **4**", "3\\*3 = **9**"]
        stream = await client.completions.create(model=MODEL, prompt="2+2", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "2+2 = **4**"
        with pytest.raises(openai.BadRequestError, match="token ids"):
            await client.completions.create(model=MODEL, prompt=[1, 2])

    async def test_models_are_listed_and_found(self, client: openai.AsyncOpenAI) -> None:
        models = (await client.models.list()).data
        assert MODEL in [model.id for model in models]
        assert (await client.models.retrieve(MODEL)) in models
        with pytest.raises(openai.NotFoundError, match="nothing"):
            await client.models.retrieve("nothing")


class TestAnyText:
    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=400) | st.text(alphabet="1+= x.,!?()[]>#:-\n%of and summarize title", max_size=1500))
    def test_any_message_has_an_answer(self, text: str) -> None:
        ask = read_chat({"model": MODEL, "messages": [{"role": "user", "content": text}], "tools": [SEARCH, CALCULATOR]})
        reply = respond(ask)
        assert reply.text or reply.calls

    @pytest.mark.parametrize(
        "text",
        [
            "1" + "=" * 1990 + "x",
            "1% of " * 300,
            "1" * 1990 + "x",
            "1" + "!" * 1990,
            "(" * 900 + "1",
            "square root of " * 120 + "1",
            "so " * 600 + "1",
            "what is " * 3000,
            "add " * 6000,
            "title " * 6000,
            "summarize: " * 3000,
            "\"'" * 15_000,
            "\n " * 9000 + "x",
            "[1] (" * 4000,
            "[1] a\n" + ">\n" * 9000,
            "a" * 200_000,
            "what-" * 16_000,
        ],
    )
    def test_no_message_takes_long(self, text: str) -> None:
        tools = [SEARCH, *({"type": "function", "function": {"name": name}} for name in TOOL_WORDS)]
        started = time.thread_time()
        respond(read_chat({"model": MODEL, "messages": [{"role": "user", "content": text}], "tools": tools}))
        assert time.thread_time() - started < 5  # milliseconds here; minutes when a pattern backtracks
