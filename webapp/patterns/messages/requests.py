"""Translate a Messages request to a chat completion."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any, Final

from webapp.patterns.errors import InputError
from webapp.patterns.messages.blocks import as_blocks, as_content, as_parts
from webapp.patterns.messages.tools import chat_tool_choice, chat_tools
from webapp.patterns.types import Json, Message

BILLING_HEADER: Final = "x-anthropic-billing-header:"
"""Claude Code's first system block. It changes with each request, and would void the prompt cache of every server."""
IMAGE_FOLLOWS: Final = "[The tool returned the following pictures or files; they are in the next message.]"
_SAME: Final = ("model", "temperature", "top_p", "top_k", "stream")
_LOW_BUDGET: Final = 4096
_MEDIUM_BUDGET: Final = 16_384
_EFFORTS: Final = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def to_chat(body: Mapping[str, Any]) -> Json:
    """Return the body of the chat completion that asks for the same.

    Fields that steer Anthropic's servers (`cache_control`, `context_management`, `metadata`, `service_tier`, `betas`, …) have no
    counterpart and are left out, unknown ones too.

    Args:
        body: a request that `schema.check_request` or `schema.check_count` accepted.

    Raises:
        InputError: it holds something that no chat server can do.
    """
    chat: Json = {name: body[name] for name in _SAME if body.get(name) is not None}
    system, messages = _leading_system(body)
    chat["messages"] = [*_system(system), *(sent for role, blocks in _turns(messages) for sent in _messages(role, blocks))]
    if body.get("max_tokens") is not None:
        chat["max_tokens"] = max(1, int(body["max_tokens"]))
    if body.get("stop_sequences"):
        chat["stop"] = list(body["stop_sequences"])
    if tools := _tools(body):
        chat["tools"] = tools
        if body.get("tool_choice"):
            chat.update(chat_tool_choice(body["tool_choice"]))
    if effort := _effort(body):
        chat["reasoning_effort"] = effort
    if schema := _output_schema(body):
        chat["response_format"] = {"type": "json_schema", "json_schema": {"name": "output", "schema": schema, "strict": True}}
    return chat


def _tools(body: Mapping[str, Any]) -> list[Json]:
    """Return the functions that the model may call. The tools of `mcp_servers` are among those that only Anthropic's servers run."""
    tools = chat_tools(body.get("tools") or ())
    if body.get("mcp_servers") and not tools:
        raise InputError("The tools in 'mcp_servers' run on Anthropic's servers. This route has none.", param="mcp_servers")
    return tools


def wants_thinking(body: Mapping[str, Any]) -> bool:
    """Return whether the caller asked to see the model's reasoning."""
    thinking = body.get("thinking") or {}
    return thinking.get("type") not in {None, "disabled"} and thinking.get("display") != "omitted"


def _effort(body: Mapping[str, Any]) -> str | None:
    """Return the reasoning effort; None where the caller leaves it to the model."""
    thinking = body.get("thinking") or {}
    if thinking.get("type") in {None, "disabled"}:
        return None
    effort = (body.get("output_config") or {}).get("effort")
    if effort in _EFFORTS:
        return _EFFORTS[effort]
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return None
    return "low" if budget < _LOW_BUDGET else "medium" if budget < _MEDIUM_BUDGET else "high"


def _output_schema(body: Mapping[str, Any]) -> Json | None:
    """Return the JSON schema of the answer, from `output_config.format` or the older `output_format`."""
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format") or {}
    schema = wanted.get("schema") if isinstance(wanted, dict) else None
    return schema if isinstance(schema, dict) else None


def _system(blocks: Iterable[Mapping[str, Any]]) -> list[Message]:
    texts = [str(block.get("text") or "") for block in blocks]
    texts = [text for text in texts if text and not text.startswith(BILLING_HEADER)]
    return [{"role": "system", "content": "\n\n".join(texts)}] if texts else []


def _leading_system(body: Mapping[str, Any]) -> tuple[list[Json], list[Json]]:
    """Return the blocks of the system prompt, with those of system messages that begin the conversation, and the other messages."""
    messages = list(body["messages"])
    blocks = as_blocks(body.get("system"))
    while messages and messages[0]["role"] == "system":
        blocks += as_blocks(messages.pop(0)["content"])
    return blocks, messages


def _turns(messages: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, list[Json]]]:
    """Yield each turn with all its blocks: consecutive messages of one role are one turn, as Anthropic's servers read them.

    A system message in the conversation is told by the user, in the tags that Claude Code uses for its own: the chat templates of many
    models take a system message at the beginning only.
    """
    for role, group in groupby(messages, key=lambda message: "assistant" if message["role"] == "assistant" else "user"):
        yield role, [block for message in group for block in _blocks(message)]


def _blocks(message: Mapping[str, Any]) -> list[Json]:
    blocks = as_blocks(message["content"])
    if message["role"] != "system":
        return blocks
    text = "\n\n".join(str(block.get("text") or "") for block in blocks)
    return [{"type": "text", "text": f"<system-reminder>\n{text}\n</system-reminder>"}]


def _messages(role: str, blocks: list[Json]) -> list[Message]:
    """Return the chat messages that a turn stands for."""
    return [_assistant(blocks)] if role == "assistant" else _user(blocks)


def _assistant(blocks: list[Json]) -> Message:
    """Return the assistant's message. Thinking is left out: it belongs to the model that wrote it."""
    content = as_content(as_parts(block for block in blocks if block.get("type") != "tool_use"))
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    if not calls:
        return {"role": "assistant", "content": content}
    return {"role": "assistant", "content": content or None, "tool_calls": calls}


def _call(block: Mapping[str, Any]) -> Json:
    arguments = json.dumps(block.get("input") or {}, ensure_ascii=False)
    return {"id": block["id"], "type": "function", "function": {"name": block["name"], "arguments": arguments}}


def _user(blocks: list[Json]) -> list[Message]:
    """Return a message for each tool result, and one with the rest of what the user said."""
    results: list[Message] = []
    rest: list[Json] = []
    for block in blocks:
        if block.get("type") == "tool_result":
            text, media = _result(block)
            results.append({"role": "tool", "tool_call_id": block["tool_use_id"], "content": text})
            rest += media
        else:
            rest += as_parts([block])
    if rest or not results:
        results.append({"role": "user", "content": as_content(rest)})
    return results


def _result(block: Mapping[str, Any]) -> tuple[str, list[Json]]:
    """Return the text of a tool's result, and its pictures and files: a chat server takes those only from the user."""
    parts = as_parts(as_blocks(block.get("content")))
    texts = [part["text"] for part in parts if part["type"] == "text"]
    media = [part for part in parts if part["type"] != "text"]
    if media:
        texts.append(IMAGE_FOLLOWS)
    text = "\n".join(texts)
    return (f"Error: {text}" if block.get("is_error") else text), media
