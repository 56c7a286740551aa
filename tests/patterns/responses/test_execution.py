"""Whole responses: turns of the model, tools that the server runs, approval, and failures."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from tests.patterns.responses.events import ScriptedBackend, decoded, gathered, kinds, request_of, response_of, says, whole
from webapp.patterns.agent.tools import ToolError, ToolResult
from webapp.patterns.errors import AllFailed, InputError, RateLimited, StreamBroken
from webapp.patterns.responses.execution import NOT_RUN, Execution
from webapp.patterns.responses.items import normalize_input
from webapp.patterns.responses.objects import error_json, output_text
from webapp.patterns.responses.tools import ListedTool
from webapp.patterns.types import Delta, StreamChunk, ToolCallDelta

WIKI = {"type": "mcp", "server_label": "wiki", "server_url": "https://wiki.example", "require_approval": "never"}
SEARCH = {"type": "file_search", "vector_store_ids": ["vs_1"]}


class Tools:
    """Tools of a test: what was asked for, and what comes back."""

    def __init__(self, result: ToolResult | None = None, *, broken: bool = False) -> None:
        self.result = result or ToolResult("the page")
        self.broken = broken
        self.calls: list[Any] = []

    async def list_tools(self, server: Any) -> Sequence[Any]:
        if self.broken:
            raise ToolError("The server is down.")
        read = ListedTool("read", "Read a page.", {"type": "object"}, read_only=True)
        return [read, ListedTool("write"), ListedTool("delete", acts=True), ListedTool("note", untrusted=False, external=False)]

    async def call_tool(self, server: Any, name: str, arguments: Any) -> ToolResult:
        self.calls.append((name, arguments))
        return self.result

    async def search_files(self, tool: Any, queries: Sequence[str]) -> Sequence[Any]:
        if self.broken:
            raise ToolError("There is no such collection.")
        self.calls.append(list(queries))
        return [{"file_id": "f1", "filename": "a.txt", "score": 0.9, "text": "passage " * 10}]


def calls(*names: str, arguments: str = "{}", usage: Any = None) -> list[Delta]:
    fragments = tuple(ToolCallDelta(number, f"c{number}", name, arguments) for number, name in enumerate(names))
    return [Delta(tool_calls=fragments), Delta(finish_reason="tool_calls", usage=usage)]


async def run(backend: ScriptedBackend, server: Tools | None = None, history: Any = (), /, **body: Any) -> tuple[bytes, dict[str, Any]]:
    response = response_of(**body)
    execution = Execution(backend, request_of(history, **body), response=response, server=server)
    return await gathered(execution.stream()), response


async def test_a_tool_server_lists_its_tools_and_its_tool_runs() -> None:
    backend = ScriptedBackend(calls("wiki__read", arguments='{"page":"a"}'), says("It says so."))
    tools = Tools()
    raw, response = await run(backend, tools, tools=[WIKI])
    assert tools.calls == [("read", {"page": "a"})]
    assert [item["type"] for item in response["output"]] == ["mcp_list_tools", "mcp_call", "message"]
    assert response["output"][1]["output"] == "the page"
    assert [tool["function"]["name"] for tool in backend.requests[0].body["tools"]] == [
        "wiki__read",
        "wiki__write",
        "wiki__delete",
        "wiki__note",
    ]
    assert backend.requests[1].messages[-1] == {"role": "tool", "tool_call_id": "c0", "content": "the page"}
    names = kinds(raw)
    assert names[2:6] == ["output_item.added", "mcp_list_tools.in_progress", "mcp_list_tools.completed", "output_item.done"]
    assert names[6:12] == [
        "output_item.added", "mcp_call.in_progress", "mcp_call_arguments.delta", "mcp_call_arguments.done", "mcp_call.completed",
        "output_item.done",
    ]  # fmt: skip
    assert [event["sequence_number"] for event in decoded(raw)] == list(range(len(names)))


async def test_a_whole_answer_runs_tools_just_so() -> None:
    backend = ScriptedBackend(whole(calls=[("wiki__read", "{}")], finish="tool_calls"), whole("Done.", reasoning_content="hm"))
    response = response_of(tools=[WIKI])
    made = await Execution(backend, request_of(tools=[WIKI]), response=response, server=Tools()).send()
    assert [item["type"] for item in made["output"]] == ["mcp_list_tools", "mcp_call", "reasoning", "message"]
    assert made["usage"]["total_tokens"] == 14, "of both turns"
    assert output_text(made) == "Done."


async def test_a_server_that_is_down_is_shown_and_the_answer_goes_on() -> None:
    raw, response = await run(ScriptedBackend(says("Sorry.")), Tools(broken=True), tools=[WIKI])
    assert response["output"][0]["error"] == "The server is down."
    assert "mcp_list_tools.failed" in kinds(raw)
    assert response["status"] == "completed"


async def test_a_listing_of_before_is_not_shown_again() -> None:
    listed = normalize_input([{"type": "mcp_list_tools", "server_label": "wiki", "tools": []}])
    _, response = await run(ScriptedBackend(says("Yes.")), Tools(), listed, tools=[WIKI])
    assert [item["type"] for item in response["output"]] == ["message"]


@pytest.mark.parametrize("allowed", [["read"], {"tool_names": ["read"]}])
async def test_only_allowed_tools_are_offered(allowed: Any) -> None:
    backend = ScriptedBackend(says("Yes."))
    await run(backend, Tools(), tools=[{**WIKI, "allowed_tools": allowed}])
    assert [tool["function"]["name"] for tool in backend.requests[0].body["tools"]] == ["wiki__read"]


async def test_a_tool_that_fails_is_shown_and_the_model_is_told() -> None:
    backend = ScriptedBackend(calls("wiki__read"), says("Hm."))
    raw, response = await run(backend, Tools(ToolResult("It broke.", "failed")), tools=[WIKI])
    assert response["output"][1]["status"] == "failed"
    assert response["output"][1]["error"]["content"][0]["text"] == "It broke."
    assert backend.requests[1].messages[-1]["content"] == "It broke."
    assert "mcp_call.failed" in kinds(raw)


async def test_broken_arguments_are_told_to_the_model() -> None:
    tools = Tools()
    backend = ScriptedBackend(calls("wiki__read", arguments="{broken"), says("Hm."))
    await run(backend, tools, tools=[WIKI])
    assert not tools.calls
    assert "not valid JSON" in backend.requests[1].messages[-1]["content"]


@pytest.mark.parametrize("wanted", [None, "always", {"never": {"tool_names": ["write"]}}, {"always": {"tool_names": ["read"]}}])
async def test_a_call_that_needs_approval_is_asked_for_and_runs_once_approved(wanted: Any) -> None:
    server = {**WIKI, "require_approval": wanted}
    tools = Tools()
    _, response = await run(ScriptedBackend(calls("wiki__read", arguments='{"a":1}')), tools, tools=[server])
    asked = response["output"][-1]
    assert (asked["type"], asked["name"], asked["arguments"]) == ("mcp_approval_request", "read", '{"a":1}')
    assert response["status"] == "completed"
    assert not tools.calls
    answer = {"type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": True}
    for script in (says("Done."), whole("Done.")):
        backend = ScriptedBackend(script)
        body: Any = {"tools": [server], "input": [answer]}
        response = response_of(tools=[server])
        execution = Execution(backend, request_of(response_history(asked), **body), response=response, server=tools)
        await (gathered(execution.stream()) if isinstance(script, list) else execution.send())
        assert [item["type"] for item in response["output"]] == ["mcp_list_tools", "mcp_call", "message"]
        assert response["output"][1]["approval_request_id"] == asked["id"]
        assert backend.requests[0].messages[-1]["content"] == "the page"
    assert tools.calls == [("read", {"a": 1})] * 2


SECRET = '{"text": "sk-abcdefghijklmnop"}'


@pytest.mark.parametrize(
    ("made", "arguments", "reason"),
    [
        (["wiki__delete"], "{}", "acts"),
        (["wiki__read", "wiki__write"], "{}", "untrusted"),
        (["wiki__read", "wiki__note"], "{}", "untrusted"),
        (["wiki__read"], SECRET, "secret"),
    ],
)
async def test_the_rules_of_the_chat_ask_whatever_the_request_says(made: list[str], arguments: str, reason: str) -> None:
    tools = Tools()
    _, response = await run(ScriptedBackend(calls(*made, arguments=arguments), says("?")), tools, tools=[WIKI])
    asked = response["output"][-1]
    assert (asked["type"], asked["reason"]) == ("mcp_approval_request", reason)
    assert [name for name, _ in tools.calls] == [name.removeprefix("wiki__") for name in made[:-1]]


async def test_what_the_rules_allow_runs() -> None:
    tools = Tools()
    backend = ScriptedBackend(calls("wiki__note", "wiki__write", "wiki__read"), says("Done."))
    await run(backend, tools, tools=[WIKI])
    assert [name for name, _ in tools.calls] == ["note", "write", "read"], "nothing from outside was read before"


async def test_the_rules_hold_for_whole_answers_and_over_turns() -> None:
    backend = ScriptedBackend(
        whole(calls=[("wiki__read", "{}")], finish="tool_calls"), whole(calls=[("wiki__write", "{}")], finish="tool_calls")
    )
    tools = Tools()
    made = await Execution(backend, request_of(tools=[WIKI]), response=response_of(tools=[WIKI]), server=tools).send()
    assert [item["type"] for item in made["output"]] == ["mcp_list_tools", "mcp_call", "mcp_approval_request"]
    assert tools.calls == [("read", {})]


@pytest.mark.parametrize(
    ("before", "asks"),
    [
        ({"type": "mcp_call", "server_label": "wiki", "name": "read", "arguments": "{}", "output": "page"}, True),
        ({"type": "mcp_call", "server_label": "gone", "name": "read", "arguments": "{}", "output": "page"}, True),
        ({"type": "file_search_call", "queries": ["a"]}, True),
        ({"type": "mcp_call", "server_label": "wiki", "name": "note", "arguments": "{}", "output": "noted"}, False),
    ],
)
async def test_content_from_outside_in_the_conversation_before_counts(before: Any, *, asks: bool) -> None:
    tools = Tools()
    await run(ScriptedBackend(calls("wiki__write"), says("Done.")), tools, response_history(before), tools=[WIKI])
    assert tools.calls == ([] if asks else [("write", {})])


async def test_after_a_file_search_an_action_asks() -> None:
    tools = Tools()
    backend = ScriptedBackend(calls("file_search", arguments='{"queries":["a"]}'), calls("wiki__write"), says("?"))
    _, response = await run(backend, tools, tools=[WIKI, SEARCH])
    assert response["output"][-1]["type"] == "mcp_approval_request"
    assert tools.calls == [["a"]]


async def test_an_approved_call_runs_whatever_its_arguments_and_its_result_counts_as_read() -> None:
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "server_label": "wiki", "name": "delete", "arguments": SECRET}
    answer = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    tools = Tools()
    backend = ScriptedBackend(calls("wiki__write"), says("?"))
    _, response = await run(backend, tools, response_history(asked), tools=[WIKI], input=[answer])
    assert [name for name, _ in tools.calls] == ["delete"]
    assert (response["output"][-1]["type"], response["output"][-1]["reason"]) == ("mcp_approval_request", "untrusted")


def response_history(*items: Any) -> list[Any]:
    return normalize_input([{"role": "user", "content": "read it"}, *items])


@pytest.mark.parametrize("include", [[], ["file_search_call.results"]])
async def test_documents_are_searched(include: list[str]) -> None:
    backend = ScriptedBackend(calls("file_search", arguments='{"queries":["a","b"]}'), says("Found."))
    tools = Tools()
    raw, response = await run(backend, tools, tools=[SEARCH], include=include)
    assert tools.calls == [["a", "b"]]
    item = response["output"][0]
    assert (item["type"], item["queries"], item["status"]) == ("file_search_call", ["a", "b"], "completed")
    assert (item["results"] is None) == (not include)
    assert "passage" in backend.requests[1].messages[-1]["content"]
    searching = ["file_search_call.in_progress", "file_search_call.searching", "file_search_call.completed"]
    assert kinds(raw)[3:6] == searching


@pytest.mark.parametrize("arguments", ["{}", "[]", "{broken"])
async def test_a_search_for_nothing_is_told_to_the_model(arguments: str) -> None:
    backend = ScriptedBackend(calls("file_search", arguments=arguments), says("Hm."))
    await run(backend, Tools(), tools=[SEARCH])
    assert "at least one query" in backend.requests[1].messages[-1]["content"]


async def test_a_search_that_fails_is_told_to_the_model() -> None:
    backend = ScriptedBackend(calls("file_search", arguments='{"query":"a"}'), says("Hm."))
    _, response = await run(backend, Tools(broken=True), tools=[SEARCH])
    assert response["output"][0]["status"] == "failed"
    assert "no such collection" in backend.requests[1].messages[-1]["content"]


async def test_further_calls_than_allowed_are_not_run() -> None:
    tools = Tools()
    backend = ScriptedBackend(calls("wiki__read", "wiki__write"), says("Enough."))
    await run(backend, tools, tools=[WIKI], max_tool_calls=1)
    assert tools.calls == [("read", {})]
    assert backend.requests[1].messages[-1]["content"] == NOT_RUN


async def test_calls_of_the_caller_end_the_response_beside_those_run_here() -> None:
    function = {"type": "function", "name": "mine"}
    _, response = await run(ScriptedBackend(calls("wiki__read", "mine")), Tools(), tools=[WIKI, function])
    assert sorted(item["type"] for item in response["output"]) == ["function_call", "mcp_call", "mcp_list_tools"]
    assert response["status"] == "completed"


async def test_a_model_that_never_stops_calling_is_stopped() -> None:
    backend = ScriptedBackend(*[calls("wiki__read") for _ in range(30)])
    _, response = await run(backend, Tools(), tools=[WIKI])
    assert len(backend.requests) == 24
    assert response["status"] == "completed"


async def test_without_an_answer_nothing_is_yielded() -> None:
    with pytest.raises(StreamBroken):
        await run(ScriptedBackend([StreamBroken("cut")]))
    with pytest.raises(StreamBroken):
        await Execution(ScriptedBackend(StreamBroken("cut")), request_of(), response=response_of()).send()


async def test_a_failure_in_a_later_turn_is_an_event() -> None:
    raw, response = await run(ScriptedBackend(calls("wiki__read"), [AllFailed("none left")]), Tools(), tools=[WIKI])
    assert kinds(raw)[-1] == "failed"
    assert response["error"] == {"code": "server_error", "message": "none left"}


def test_errors_have_codes_of_the_schema() -> None:
    assert error_json(RateLimited("slow"))["code"] == "rate_limit_exceeded"
    assert error_json(InputError("wrong"))["code"] == "invalid_prompt"
    assert error_json(KeyError("secret")) == {"code": "server_error", "message": "Something broke on our side."}


ENTRY = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}


async def test_log_probabilities_come_with_their_text() -> None:
    include = ["message.output_text.logprobs"]
    body = whole("Hi")
    body["choices"][0]["logprobs"] = {"content": [ENTRY]}
    response = response_of(include=include)
    await Execution(ScriptedBackend(body), request_of(include=include), response=response).send()
    assert response["output"][0]["content"][0]["logprobs"] == [ENTRY]
    chunk = {"choices": [{"index": 0, "delta": {"content": "Hi"}, "logprobs": {"content": [ENTRY]}}]}
    raw = f"data: {json.dumps(chunk)}\n\n".encode()
    script = [StreamChunk(raw, (Delta(text="Hi"),)), StreamChunk(b'data: {"choices": []}\n\n', (Delta(finish_reason="stop"),))]
    events, response = await run(ScriptedBackend(script), include=include)
    assert response["output"][0]["content"][0]["logprobs"] == [ENTRY]
    done = next(event for event in decoded(events) if event["type"] == "response.output_text.done")
    assert done["logprobs"] == [ENTRY]
