"""Translate a chat completion request to a Messages request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from webapp.patterns.agent.tools import parse_arguments
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

MAX_TOKENS: Final = 8192
"""The longest answer where the request does not say: the protocol demands a number."""
BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768}
"""Tokens of thinking by reasoning effort."""
_DATA_URL: Final = re.compile(r"data:([^;,]+)?(?:;[^,]*)?;base64,(.*)", re.DOTALL)


def from_chat(body: Mapping[str, Any]) -> Json:
    """Return the body of the Messages request that asks for the same.

    Raises:
        InputError: it asks for what an Anthropic server cannot do: several choices, log probabilities, or a kind of content.
    """
    if (body.get("n") or 1) > 1:
        raise InputError("An Anthropic server gives one choice only.", param="n")
    if body.get("logprobs"):
        raise InputError("An Anthropic server gives no log probabilities.", param="logprobs")
    system, messages = _conversation(body.get("messages") or ())
    sent: Json = {
        "model": body.get("model"),
        "max_tokens": body.get("max_completion_tokens") or body.get("max_tokens") or MAX_TOKENS,
        "messages": messages,
    }
    if system:
        sent["system"] = system
    if stops := _stops(body.get("stop")):
        sent["stop_sequences"] = stops
    sent.update(_tools(body))
    sent.update(_thinking(body, sent["max_tokens"], messages))
    if "thinking" not in sent:
        sent.update(_sampling(body))
    if body.get("user"):
        sent["metadata"] = {"user_id": str(body["user"])}
    if schema := _schema(body.get("response_format")):
        sent["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    return sent


def _sampling(body: Mapping[str, Any]) -> Json:
    """Return the sampling fields. Temperatures end at 1, and newer models take a temperature or `top_p`, not both."""
    if body.get("temperature") is not None:
        fields: Json = {"temperature": min(float(body["temperature"]), 1.0)}
    elif body.get("top_p") is not None:
        fields = {"top_p": body["top_p"]}
    else:
        fields = {}
    return {**fields, "top_k": body["top_k"]} if body.get("top_k") is not None else fields


def _thinking(body: Mapping[str, Any], limit: int, messages: Sequence[Json]) -> Json:
    """Return the budget for thinking, within the limit of the answer. A turn that goes on after a tool's result cannot begin to think."""
    budget = min(BUDGETS.get(str(body.get("reasoning_effort")), 0), limit - 1)
    if budget < BUDGETS["minimal"] or _has_result(messages[-1:]):
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _has_result(messages: Iterable[Json]) -> bool:
    return any(block["type"] == "tool_result" for message in messages for block in message["content"])


def _stops(stop: Any) -> list[str]:
    """Return the stop sequences that Anthropic's servers take: those that hold more than white space."""
    return [text for text in ([stop] if isinstance(stop, str) else stop or ()) if text.strip()]


def _schema(wanted: Any) -> Json | None:
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema = (wanted.get("json_schema") or {}).get("schema")
    return schema if isinstance(schema, dict) else None


def _tools(body: Mapping[str, Any]) -> Json:
    functions = [tool["function"] for tool in body.get("tools") or () if isinstance(tool.get("function"), dict)]
    functions += [function for function in body.get("functions") or () if isinstance(function, dict)]
    if not functions:
        return {}
    fields: Json = {"tools": [_tool(function) for function in functions]}
    choice = _choice(body.get("tool_choice"))
    if body.get("parallel_tool_calls") is False:
        choice = {**(choice or {"type": "auto"}), "disable_parallel_tool_use": True}
    return {**fields, "tool_choice": choice} if choice else fields


def _tool(function: Mapping[str, Any]) -> Json:
    tool: Json = {"name": function["name"], "input_schema": function.get("parameters") or {"type": "object", "properties": {}}}
    if function.get("description"):
        tool["description"] = function["description"]
    return tool


def _choice(choice: Any) -> Json | None:
    if isinstance(choice, dict):
        name = (choice.get("function") or {}).get("name")
        return {"type": "tool", "name": name} if name else None
    kinds = {"required": "any", "none": "none", "auto": "auto"}
    return {"type": kinds[choice]} if choice in kinds else None


def _conversation(messages: Iterable[Mapping[str, Any]]) -> tuple[list[Json], list[Json]]:
    """Return the blocks of the system prompt, and the turns: the roles alternate, and the first is the user's."""
    system: list[Json] = []
    turns: list[Json] = []
    for message in messages:
        role = message.get("role")
        if role in {"system", "developer"}:
            system += _blocks(message.get("content"))
            continue
        speaker = "assistant" if role == "assistant" else "user"
        blocks = _assistant(message) if role == "assistant" else _result(message) if role == "tool" else _blocks(message.get("content"))
        if turns and turns[-1]["role"] == speaker:
            turns[-1]["content"] += blocks
        elif blocks:
            turns.append({"role": speaker, "content": blocks})
    return system, turns


def _assistant(message: Mapping[str, Any]) -> list[Json]:
    calls = [call for call in message.get("tool_calls") or () if isinstance(call.get("function"), dict)]
    return [*_blocks(message.get("content")), *(_use(call) for call in calls)]


def _use(call: Mapping[str, Any]) -> Json:
    arguments = parse_arguments(call["function"].get("arguments") or "{}")
    return {
        "type": "tool_use",
        "id": call.get("id"),
        "name": call["function"].get("name"),
        "input": arguments if isinstance(arguments, dict) else {},
    }


def _result(message: Mapping[str, Any]) -> list[Json]:
    return [{"type": "tool_result", "tool_use_id": message.get("tool_call_id"), "content": _blocks(message.get("content"))}]


def _blocks(content: Any) -> list[Json]:
    """Return content as blocks; empty texts are left out, since Anthropic's servers refuse them."""
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content or ()
    return [block for part in parts if (block := _block(part)) is not None]


def _block(part: Mapping[str, Any]) -> Json | None:
    match part.get("type"):
        case "text" | "refusal":
            text = str(part.get("text") or part.get("refusal") or "")
            return {"type": "text", "text": text} if text.strip() else None
        case "image_url":
            return {"type": "image", "source": _source(str((part.get("image_url") or {}).get("url") or ""))}
        case "file":
            return _document(part.get("file") or {})
        case "thinking" | "reasoning":
            return None
        case kind:
            raise InputError(f"An Anthropic server takes no content of type {kind!r}.", param="messages")


def _source(url: str) -> Json:
    found = _DATA_URL.match(url)
    if found:
        return {"type": "base64", "media_type": found[1] or "image/png", "data": found[2]}
    return {"type": "url", "url": url}


def _document(file: Mapping[str, Any]) -> Json:
    found = _DATA_URL.match(str(file.get("file_data") or ""))
    if not found:
        raise InputError("An Anthropic server takes files by their data only.", param="messages")
    source = {"type": "base64", "media_type": found[1] or "application/pdf", "data": found[2]}
    title = {"title": str(file["filename"])} if file.get("filename") else {}
    return {"type": "document", "source": source, **title}
