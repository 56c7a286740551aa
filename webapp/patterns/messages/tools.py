"""Translate Anthropic's tools and tool choice to those of chat completions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

_STRING: Final[Json] = {"type": "string"}
_CLIENT_TOOLS: Final[dict[str, Json]] = {
    "bash": {"type": "object", "properties": {"command": _STRING, "restart": {"type": "boolean"}}},
    "text_editor": {
        "type": "object",
        "properties": {
            "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert"]},
            "path": _STRING,
            "file_text": _STRING,
            "old_str": _STRING,
            "new_str": _STRING,
            "insert_line": {"type": "integer"},
            "insert_text": _STRING,
            "view_range": {"type": "array", "items": {"type": "integer"}},
        },
        "required": ["command", "path"],
    },
    "memory": {
        "type": "object",
        "properties": {
            "command": {"type": "string", "enum": ["view", "create", "str_replace", "insert", "delete", "rename"]},
            "path": _STRING,
            "old_path": _STRING,
            "new_path": _STRING,
            "file_text": _STRING,
            "old_str": _STRING,
            "new_str": _STRING,
            "insert_line": {"type": "integer"},
            "insert_text": _STRING,
        },
        "required": ["command"],
    },
}
"""The tools that Anthropic defines by name and the client runs: their input schemas, by type without its date."""
_DESCRIPTIONS: Final = {
    "bash": "Run a command in the client's shell and return its output.",
    "text_editor": "View, create and edit files of the client.",
    "memory": "Read and write the files of the client's memory folder.",
}
_DATED: Final = re.compile(r"_\d{8}$")


def chat_tools(tools: Sequence[Mapping[str, Any]]) -> list[Json]:
    """Return the tools as functions. Tools that only Anthropic's servers run (`web_search_…`) are left out.

    Raises:
        InputError: there are tools, and all of them run on Anthropic's servers.
    """
    functions = [function for tool in tools if (function := _function(tool)) is not None]
    if tools and not functions:
        names = ", ".join(sorted({str(tool.get("type")) for tool in tools}))
        raise InputError(f"The tools of type {names} run on Anthropic's servers. This route has none.", param="tools")
    return functions


def _function(tool: Mapping[str, Any]) -> Json | None:
    kind = _DATED.sub("", str(tool.get("type") or "custom"))
    schema = tool.get("input_schema") or _CLIENT_TOOLS.get(kind)
    if schema is None or not tool.get("name"):
        return None
    function: Json = {"name": tool["name"]}
    description = tool.get("description") or _DESCRIPTIONS.get(kind)
    if description:
        function["description"] = description
    function["parameters"] = schema
    if tool.get("strict") is not None:
        function["strict"] = tool["strict"]
    return {"type": "function", "function": function}


def chat_tool_choice(choice: Mapping[str, Any]) -> Json:
    """Return the fields of a chat body that say the same as `tool_choice`: `tool_choice`, and `parallel_tool_calls` where it is limited."""
    fields: Json = {}
    match choice.get("type"):
        case "any":
            fields["tool_choice"] = "required"
        case "none":
            fields["tool_choice"] = "none"
        case "tool":
            fields["tool_choice"] = {"type": "function", "function": {"name": choice["name"]}}
        case _:
            fields["tool_choice"] = "auto"
    if choice.get("disable_parallel_tool_use"):
        fields["parallel_tool_calls"] = False
    return fields
