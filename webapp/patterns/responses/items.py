"""Input items: the forms that callers write them in, and the chat messages they stand for."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from webapp.patterns.context.history_repair import repair
from webapp.patterns.errors import InputError
from webapp.patterns.responses.content import as_parts, chat_content, images_of, text_of
from webapp.patterns.responses.objects import new_id
from webapp.patterns.responses.tools import FILE_SEARCH, ToolSet
from webapp.patterns.types import Json, Message

PREFIXES: Final = {
    "message": "msg_",
    "reasoning": "rs_",
    "function_call": "fc_",
    "function_call_output": "fco_",
    "custom_tool_call": "ctc_",
    "custom_tool_call_output": "ctco_",
    "file_search_call": "fs_",
    "mcp_call": "mcp_",
    "mcp_list_tools": "mcpl_",
    "mcp_approval_request": "mcpr_",
    "mcp_approval_response": "mcpa_",
    "compaction": "cmp_",
}
SYSTEM_ROLES: Final = frozenset({"system", "developer"})
DECLINED: Final = "The user declined this call. Do not make it again unless the user asks for it."
COMPACTED: Final = "Summary of the conversation so far:"
_SHELL_CALLS: Final = {"local_shell_call": "local_shell", "shell_call": "shell", "apply_patch_call": "apply_patch"}
_OUTPUTS: Final = frozenset(
    {"function_call_output", "custom_tool_call_output", "local_shell_call_output", "shell_call_output", "apply_patch_call_output"}
)


def normalize_input(given: Any) -> list[Json]:
    """Return the items of a request's `input` in full form: each with `type` and `id`, messages with a list of parts.

    Raises:
        InputError: an item is not an object, or its type is unknown.
    """
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not isinstance(given, list):
        raise InputError("Invalid type for 'input': expected a string or an array of items.", param="input", code="invalid_type")
    return [_normalized(item, number) for number, item in enumerate(given)]


def _normalized(item: Any, number: int) -> Json:
    if not isinstance(item, dict):
        raise InputError(f"Invalid type for 'input[{number}]': expected an object.", param=f"input[{number}]", code="invalid_type")
    kind = item.get("type") or ("message" if "role" in item else "item_reference" if set(item) == {"id"} else "")
    if not kind:
        raise InputError(
            f"Missing required parameter: 'input[{number}].type'.", param=f"input[{number}].type", code="missing_required_parameter"
        )
    if kind == "message":
        return _message_item(item, number)
    identifier = item.get("id") or new_id(PREFIXES.get(kind, "item_"))
    return {**item, "type": kind, "id": identifier}


def _message_item(item: Json, number: int) -> Json:
    role = item.get("role")
    if not isinstance(role, str) or "content" not in item:
        name = "role" if not isinstance(role, str) else "content"
        raise InputError(
            f"Missing required parameter: 'input[{number}].{name}'.", param=f"input[{number}].{name}", code="missing_required_parameter"
        )
    content = item["content"]
    if isinstance(content, str):
        part: Json = {"type": "input_text", "text": content}
        if role == "assistant":
            part = {"type": "output_text", "text": content, "annotations": [], "logprobs": []}
        content = [part]
    return {
        **item,
        "id": item.get("id") or new_id("msg_"),
        "type": "message",
        "status": item.get("status") or "completed",
        "content": content,
    }


def messages_from(items: Iterable[Json], *, instructions: Any, tools: ToolSet) -> list[Message]:
    """Return the chat messages that stand for a conversation of items.

    System and developer texts at the beginning become one system message, since some chat templates refuse a second one. Calls that follow
    each other become one assistant message. Reasoning is left out: chat servers do not take it back.

    Args:
        items: in full form (`normalize_input`), oldest first.
        instructions: of the request: a text or a list of items.
        tools: names the calls as the model knows the tools.
    """
    builder = _Builder(tools)
    if isinstance(instructions, str) and instructions:
        builder.system(instructions)
    elif isinstance(instructions, list):
        builder.add_all(normalize_input(instructions))
    builder.add_all(list(items))
    return repair(builder.messages)


class _Builder:
    """Builds chat messages from items."""

    def __init__(self, tools: ToolSet) -> None:
        self.messages: list[Message] = []
        self._tools = tools

    def add_all(self, items: Sequence[Json]) -> None:
        decisions = {item.get("approval_request_id"): item for item in items if item["type"] == "mcp_approval_response"}
        performed = {item.get("approval_request_id") for item in items if item["type"] == "mcp_call"}
        for item in items:
            if item["type"] == "mcp_approval_request":
                decision = decisions.get(item["id"])
                if decision is not None and not decision.get("approve") and item["id"] not in performed:
                    self._mcp_call(item, DECLINED)
            else:
                self._add(item)

    def _add(self, item: Json) -> None:
        match item["type"]:
            case "message":
                self._message(item)
            case "function_call":
                self._call(item, self._tools.chat_name(item), str(item.get("arguments") or ""))
            case "custom_tool_call":
                self._call(item, self._tools.chat_name(item), _dump({"input": item.get("input") or ""}))
            case kind if kind in _SHELL_CALLS:
                self._call(item, _SHELL_CALLS[kind], _dump(item.get("action") or item.get("operation") or {}))
            case kind if kind in _OUTPUTS:
                self._output(item)
            case "file_search_call":
                self._file_search(item)
            case "mcp_call":
                self._mcp_call(item, item.get("output") or _error_text(item.get("error")))
            case "compaction":
                self.system(f"{COMPACTED}\n{item.get('encrypted_content') or ''}")

    def system(self, text: str) -> None:
        """Add a system text; the first ones become one message."""
        if len(self.messages) == 1 and self.messages[0]["role"] == "system":
            self.messages[0]["content"] += f"\n\n{text}"
        else:
            self.messages.append({"role": "system", "content": text})

    def _message(self, item: Json) -> None:
        role = item["role"]
        if role in SYSTEM_ROLES:
            self.system(text_of(item["content"]))
        elif role == "assistant":
            self.messages.append({"role": "assistant", "content": text_of(item["content"])})
        else:
            self.messages.append({"role": "user", "content": chat_content(item["content"])})

    def _call(self, item: Json, name: str, arguments: str) -> None:
        """Add a call to the assistant message that is being built; a new one where there is none."""
        last = self.messages[-1] if self.messages else {}
        if last.get("role") != "assistant":
            last = {"role": "assistant", "content": None}
            self.messages.append(last)
        call = {"id": _call_id(item), "type": "function", "function": {"name": name, "arguments": arguments}}
        last.setdefault("tool_calls", []).append(call)
        last["content"] = last["content"] or None

    def _output(self, item: Json) -> None:
        output = item.get("output")
        text = text_of(output) if isinstance(output, list | str) else _dump(output)
        self.messages.append({"role": "tool", "tool_call_id": _call_id(item), "content": text})
        if images := images_of(output) if isinstance(output, list) else []:
            said = {"type": "text", "text": "The tool returned this:"}
            self.messages.append({"role": "user", "content": [said, *images]})

    def _file_search(self, item: Json) -> None:
        queries = item.get("queries") or []
        self._call(item, FILE_SEARCH, _dump({"queries": queries}))
        results = [{name: result.get(name) for name in ("file_id", "filename", "score", "text")} for result in item.get("results") or ()]
        text = _dump({"results": results}) if results else "[The results of this search were not kept.]"
        self.messages.append({"role": "tool", "tool_call_id": _call_id(item), "content": text})

    def _mcp_call(self, item: Json, output: str) -> None:
        self._call(item, self._tools.chat_name(item), str(item.get("arguments") or ""))
        self.messages.append({"role": "tool", "tool_call_id": _call_id(item), "content": output})


def _call_id(item: Json) -> str:
    return str(item.get("call_id") or item.get("id") or "")


def _error_text(error: Any) -> str:
    if isinstance(error, dict):
        return str(error.get("message") or text_of(error.get("content")) or _dump(error))
    return str(error or "")


def _dump(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def without_references(items: Iterable[Json]) -> list[Json]:
    """Return the items without those that only refer to others."""
    return [item for item in items if item["type"] != "item_reference"]


def text_parts(items: Iterable[Json]) -> Iterable[str]:
    """Yield the text of each message among the items."""
    for item in items:
        if item["type"] == "message":
            yield "".join(text_of([part]) for part in as_parts(item["content"]))
