"""The built-in model and tools: when it calls them, and what it makes of their results."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest

from tests.builtin.talk import CALCULATOR, MODEL, REPORT, SEARCH, say, text_of
from webapp.ports.toolbox import toolbox


class TestTools:
    async def test_it_calls_the_calculator_and_reports_the_result(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 17*23?", tools=[SEARCH, CALCULATOR])
        choice = answer.choices[0]
        assert choice.finish_reason == "tool_calls"
        assert choice.message.content is None
        (call,) = choice.message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == ("calculator", {"expression": "17*23"})
        final = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": "What is 17*23?"},
                choice.message.model_dump(exclude_none=True),  # type: ignore[list-item]  # as openai's guide does it
                {"role": "tool", "tool_call_id": call.id, "content": "391"},
            ],
            tools=[CALCULATOR],
        )
        assert final.choices[0].message.content == "17\\*23 = **391**"

    async def test_several_sums_are_several_calls_unless_one_is_wanted(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 2+3 and 4*5?", tools=[CALCULATOR])
        assert len(answer.choices[0].message.tool_calls or []) == 2
        answer = await say(client, "What is 2+3 and 4*5?", tools=[CALCULATOR], parallel_tool_calls=False)
        assert len(answer.choices[0].message.tool_calls or []) == 1

    async def test_questions_go_to_the_documents_and_come_back_quoted(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "How long is the warranty?", tools=[SEARCH, CALCULATOR])
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert json.loads(call.function.arguments) == {"query": "How long is the warranty?"}
        found = {"results": [{"text": "Two years, on\nall parts.", "title": "Warranty.pdf", "page": 3, "url": "/search/documents/7/"}]}
        final = await client.chat.completions.create(
            model=MODEL,
            messages=[
                {"role": "user", "content": "How long is the warranty?"},
                {"role": "assistant", "tool_calls": [call.model_dump()]},  # type: ignore[list-item]  # as openai's guide does it
                {"role": "tool", "tool_call_id": call.id, "content": json.dumps(found)},
            ],
            tools=[SEARCH],
        )
        said = final.choices[0].message.content or ""
        assert "> Two years, on all parts.\n>\n> — [Warranty.pdf](/search/documents/7/), page 3" in said

    @pytest.mark.parametrize(
        ("question", "tool", "arguments"),
        [
            ("What time is it?", "current_time", {}),
            ("How busy are the GPUs?", "get_gpu_metrics", {}),
            ("Which models are up?", "list_backends", {}),
            ("How are my batches doing?", "get_batch_status", {}),
            ("Please benchmark ollama/llama3.2!", "run_benchmark", {"model": "ollama/llama3.2"}),
            ("How fast is default?", "run_benchmark", {"model": "default"}),
        ],
    )
    async def test_it_knows_when_to_use_the_other_tools(
        self, client: openai.AsyncOpenAI, question: str, tool: str, arguments: dict[str, str]
    ) -> None:
        offered = [schema for schema in toolbox.schemas() if schema["function"]["name"] == tool] or [{**SEARCH, "function": {"name": tool}}]
        answer = await say(client, question, tools=[SEARCH, *offered])
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert (call.function.name, json.loads(call.function.arguments)) == (tool, arguments)

    async def test_a_question_that_brings_its_passages_is_answered_from_them(self, client: openai.AsyncOpenAI) -> None:
        question = (
            "How long is the warranty?\n\nAnswer from these passages, and cite them:\n\n"
            "[1] Lunch.md (/search/documents/1/?passage=1#passage)\n> Soup is served at noon.\n\n"
            "[2] Terms.pdf › Warranty (/search/documents/2/?passage=9#passage)\n> The warranty is\n> two years."
        )
        said = await text_of(client, question, tools=[SEARCH])
        assert "> The warranty is two years.\n>\n> — [Terms.pdf › Warranty](/search/documents/2/?passage=9#passage)" in said
        assert said.index("Terms") < said.index("Lunch")

    @pytest.mark.parametrize(
        ("tool", "content", "said"),
        [
            ("search_documents", "[]", "I found no passage"),
            ("search_documents", "null", "I found no passage"),
            ("search_documents", "", "I found no passage"),
            ("search_documents", "There are no documents.", "The search said: There are no documents."),
            ("search_documents", json.dumps([{"text": f"{REPORT} Dogs may come. {REPORT}", "document": "a[b]"}]), "> Dogs may come."),
            ("search_documents", json.dumps([{"text": "word " * 300}]), "word …\n>\n> — **passage 1**"),
            ("current_time", '{"time": "noon", "weekday": "Sunday"}', "- **weekday**: Sunday"),
            ("list_backends", '[{"model": "a|b", "up": true}, {"model": "c", "window": 9}]', "| a\\|b | true |  |\n| c |  | 9 |"),
            ("get_gpu_metrics", '{"gpus": []}', '```json\n{\n  "gpus": []\n}\n```'),
            ("calculator", "Division by zero has no value.", "dogs: Division by zero has no value."),
            ("anything", "It is done.", "`anything` says: It is done."),
        ],
    )
    async def test_it_tells_what_any_tool_said(self, client: openai.AsyncOpenAI, tool: str, content: str, said: str) -> None:
        arguments = json.dumps({"expression" if tool == "calculator" else "query": "dogs"})
        call = {"id": "a", "type": "function", "function": {"name": tool, "arguments": arguments}}
        messages: Any = [
            {"role": "user", "content": "Well?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "a", "content": content},
        ]
        answer = await client.chat.completions.create(model=MODEL, messages=messages)
        assert said in (answer.choices[0].message.content or "")

    async def test_tool_choice_is_obeyed(self, client: openai.AsyncOpenAI) -> None:
        answer = await say(client, "What is 2+3?", tools=[CALCULATOR], tool_choice="none")
        assert answer.choices[0].message.content == "2+3 = **5**"
        answer = await say(client, "hello", tools=[SEARCH], tool_choice="required")
        assert (answer.choices[0].message.tool_calls or [])[0].type == "function"
        named = {"type": "function", "function": {"name": "calculator"}}
        answer = await say(client, "hello", tools=[SEARCH, CALCULATOR], tool_choice=named)
        (call,) = answer.choices[0].message.tool_calls or []
        assert call.type == "function"
        assert call.function.name == "calculator"
