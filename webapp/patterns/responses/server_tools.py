"""Tools that the server runs for a response: file search and tool servers, and how their calls show in the output."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from webapp.patterns.agent.approval import ApprovalRules
from webapp.patterns.agent.tools import ToolError, ToolResult, parse_arguments
from webapp.patterns.responses.citations import HOW_TO_CITE
from webapp.patterns.responses.encoder import EventEncoder
from webapp.patterns.responses.tools import CalledTool, ListedTool, ToolSet
from webapp.patterns.types import Json, Message, ToolCall

MAX_QUERIES = 5
MAX_RESULT_CHARS = 20_000
"""Of the passages of one search, as the model gets them."""


class ServerTools(Protocol):
    """Run the tools of one user. Implementations bound the time and the size of each call."""

    async def list_tools(self, server: Json) -> Sequence[ListedTool]:
        """Return the tools of an `mcp` entry of the request.

        Raises:
            ToolError: there is no such server, or it does not answer.
        """

    async def call_tool(self, server: Json, name: str, arguments: Json) -> ToolResult:
        """Call a tool of an `mcp` entry of the request. Never raises for faults of the tool."""

    async def search_files(self, tool: Json, queries: Sequence[str]) -> Sequence[Json]:
        """Search for a `file_search` entry: `{"file_id", "filename", "score", "text", "attributes"}` each, best first.

        Raises:
            ToolError: a collection is unknown, or cannot be searched now.
        """


@dataclass(frozen=True, slots=True)
class Outcome:
    """One call that the server ran: the message for the model, and the events for the client."""

    reply: Message
    events: bytes


async def list_servers(tools: ToolSet, server: ServerTools, known: Sequence[Json]) -> list[Json]:
    """Have each tool server of the request list its tools, and offer them to the model.

    Args:
        tools: the request's tools; the listed ones are added.
        server: asks the servers.
        known: the conversation's items: a server that they list already is not shown again.

    Returns:
        The `mcp_list_tools` items for the output, without ids. A server that fails has an item with its error, and the answer goes on.
    """
    shown = {item.get("server_label") for item in known if item["type"] == "mcp_list_tools"}
    items: list[Json] = []
    for entry in tools.servers:
        label = str(entry.get("server_label") or "")
        item: Json = {"type": "mcp_list_tools", "server_label": label, "tools": [], "error": None}
        try:
            listed = [tool for tool in await server.list_tools(entry) if _is_allowed(entry, tool.name)]
        except ToolError as error:
            item["error"] = error.message
        else:
            item["tools"] = [tool.shown() for tool in listed]
            tools.add_server_tools(label, listed)
        if label not in shown or item["error"]:
            items.append(item)
    return items


def show_listing(encoder: EventEncoder, item: Json) -> bytes:
    """Return the events of one listing."""
    item = {"id": encoder.new_item_id("mcpl_"), **item}
    ended = "failed" if item["error"] else "completed"
    return encoder.add_item(item, "response.mcp_list_tools.in_progress", f"response.mcp_list_tools.{ended}")


def entry_for(tools: ToolSet, label: str) -> Json | None:
    """Return the request's `mcp` entry with this label."""
    return next((entry for entry in tools.servers if entry.get("server_label") == label), None)


def _is_allowed(entry: Json, name: str) -> bool:
    allowed = entry.get("allowed_tools")
    if isinstance(allowed, dict):
        allowed = allowed.get("tool_names")
    return allowed is None or name in allowed


def caller_asks(entry: Json, name: str) -> bool:
    """Return whether the request wants calls of a tool approved: unless `require_approval` says "never" for it, as OpenAI has it."""
    wanted = entry.get("require_approval")
    if isinstance(wanted, dict):
        never, always = wanted.get("never") or {}, wanted.get("always") or {}
        if name in (always.get("tool_names") or ()):
            return True
        return name not in (never.get("tool_names") or ())
    return bool(wanted != "never")


def approval_reason(entry: Json, tool: CalledTool, arguments: str, rules: ApprovalRules) -> str | None:
    """Return why the user must approve a call: the rules of the chat, or "caller" where only the request asks for it.

    The request can ask for more approvals than the rules do, never for fewer.
    """
    reason = rules.reason(tool.listed, arguments) if tool.listed else None
    return reason or ("caller" if caller_asks(entry, tool.name) else None)


def rules_for(items: Sequence[Json], tools: ToolSet) -> ApprovalRules:
    """Return the approval rules for a conversation: its items may hold content from outside."""
    rules = ApprovalRules()
    for item in items:
        if item["type"] == "mcp_call":
            rules.note_result(tools.called(tools.chat_name(item)).listed)
        elif item["type"] == "file_search_call":
            rules.read_untrusted = True
    return rules


def ask_approval(encoder: EventEncoder, tool: CalledTool, arguments: str, reason: str) -> bytes:
    """Return the events that ask the user to approve a call."""
    item = {"id": encoder.new_item_id("mcpr_"), "type": "mcp_approval_request", "server_label": tool.server, "name": tool.name}
    return encoder.add_item({**item, "arguments": arguments or "{}", "reason": reason})


async def run_mcp(encoder: EventEncoder, tools: ToolSet, server: ServerTools, call: ToolCall, *, approval: str | None = None) -> Outcome:
    """Run one call of a tool server's tool, and make its `mcp_call` item.

    Args:
        encoder: emits the events.
        tools: the request's tools.
        server: runs the call.
        call: as the model made it.
        approval: the id of the approval request, for a call that the user approved.
    """
    tool = tools.called(call.name)
    entry = entry_for(tools, tool.server)
    arguments = parse_arguments(call.arguments)
    if entry is None:
        result = ToolResult(f"The tool server {tool.server!r} is not part of this request any more.", "unknown_tool")
    elif isinstance(arguments, str):
        result = ToolResult(arguments, "broken_json")
    else:
        result = await server.call_tool(entry, tool.name, arguments)
    item: Json = {
        "id": encoder.new_item_id("mcp_"),
        "type": "mcp_call",
        "server_label": tool.server,
        "name": tool.name,
        "arguments": call.arguments or "{}",
        "approval_request_id": approval,
        "output": None,
        "error": None,
        "status": "in_progress",
    }
    return Outcome(_reply(call, result.text), _show_mcp_call(encoder, item, result))


def _show_mcp_call(encoder: EventEncoder, item: Json, result: ToolResult) -> bytes:
    index = encoder.open_item(item)
    encoder.item_event("response.mcp_call.in_progress", item, index)
    encoder.item_event("response.mcp_call_arguments.delta", item, index, delta=item["arguments"])
    encoder.item_event("response.mcp_call_arguments.done", item, index, arguments=item["arguments"])
    if result.fault:
        item.update(status="failed", error={"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": result.text}]})
    else:
        item.update(status="completed", output=result.text)
    encoder.item_event(f"response.mcp_call.{item['status']}", item, index)
    encoder.close_item(item, index)
    return encoder.taken()


class FileSearchCall:
    """One call of `file_search`, as a `file_search_call` item.

    Args:
        encoder: emits the events.
        tool: the request's `file_search` tool.
        call: as the model made it.
        show_results: put the results into the item that the client sees.
    """

    def __init__(self, encoder: EventEncoder, tool: Json, call: ToolCall, *, show_results: bool) -> None:
        self._encoder = encoder
        self._tool = tool
        self._call = call
        self._show_results = show_results
        self._item: Json = {"id": encoder.new_item_id("fs_"), "type": "file_search_call", "status": "in_progress"}
        self._item.update(queries=_queries(call), results=None)
        self._index = -1

    def begin(self) -> bytes:
        """Return the events that come before the search."""
        self._index = self._encoder.open_item(self._item)
        self._encoder.item_event("response.file_search_call.in_progress", self._item, self._index)
        self._encoder.item_event("response.file_search_call.searching", self._item, self._index)
        return self._encoder.taken()

    async def run(self, server: ServerTools) -> Outcome:
        """Search; return the message for the model, and the last events of the item."""
        text = await self._search(server)
        self._encoder.item_event("response.file_search_call.completed", self._item, self._index)
        if not self._show_results:
            self._item["results"] = None
        self._encoder.close_item(self._item, self._index)
        return Outcome(_reply(self._call, text), self._encoder.taken())

    async def _search(self, server: ServerTools) -> str:
        """Put the results into the item, and return the text for the model."""
        self._item["status"] = "completed"
        if not self._item["queries"]:
            return "Give at least one query."
        try:
            self._item["results"] = list(await server.search_files(self._tool, self._item["queries"]))
        except ToolError as error:
            self._item["status"] = "failed"
            return f"The search failed: {error.message}"
        return self._passages()

    def _passages(self) -> str:
        """Return the results as the model reads them, each with the marker to cite it by, up to `MAX_RESULT_CHARS` of text."""
        passages: list[Json] = []
        left = MAX_RESULT_CHARS
        for result in self._item["results"]:
            text = str(result.get("text") or "")[:left]
            left -= len(text)
            marker = self._encoder.citations.add(result)
            passages.append({"marker": marker, "file_id": result.get("file_id"), "filename": result.get("filename"), "text": text})
            if left <= 0:
                break
        return json.dumps({"results": passages, "how_to_cite": HOW_TO_CITE}, ensure_ascii=False)


def _queries(call: ToolCall) -> list[str]:
    """Return the queries that the model wrote, at most `MAX_QUERIES`."""
    parsed = parse_arguments(call.arguments)
    if not isinstance(parsed, dict):
        return []
    written = parsed.get("queries") or [parsed.get("query")]
    return [str(query) for query in (written if isinstance(written, list) else [written]) if query][:MAX_QUERIES]


def _reply(call: ToolCall, text: str) -> Message:
    return {"role": "tool", "tool_call_id": call.id, "content": text}


def approved_requests(items: Sequence[Json]) -> list[Json]:
    """Return the approval requests that the caller approved and that have not run yet."""
    approved = {item.get("approval_request_id") for item in items if item["type"] == "mcp_approval_response" and item.get("approve")}
    ran = {item.get("approval_request_id") for item in items if item["type"] == "mcp_call"}
    return [item for item in items if item["type"] == "mcp_approval_request" and item["id"] in approved - ran]
