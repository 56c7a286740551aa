"""Turn any stored conversation into one that servers accept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from webapp.patterns.agent.tools import parse_arguments
from webapp.patterns.types import Message

NEVER_ANSWERED = "[This call was not run: the answer was stopped before it.]"


def repair(messages: Iterable[Message]) -> list[Message]:
    """Return a valid conversation: each tool call followed by its reply, no reply without its call, arguments that are JSON.

    After Stop or a crash calls lack replies, and some servers answer 500 to the broken JSON of a model.
    """
    messages = list(messages)
    repaired: list[Message] = []
    for position, message in enumerate(messages):
        if message.get("role") == "tool":
            continue  # placed with its call
        if message.get("role") != "assistant" or "tool_calls" not in message:
            repaired.append(message)
            continue
        repaired.append(with_valid_calls(message))
        replies = _replies_after(messages, position)
        repaired += [replies.get(call.get("id")) or reply(str(call.get("id")), NEVER_ANSWERED) for call in message["tool_calls"] or ()]
    return repaired


def _replies_after(messages: Sequence[Message], position: int) -> dict[Any, Message]:
    """Return the tool messages up to the next message that calls tools, by call id."""
    replies: dict[Any, Message] = {}
    for message in messages[position + 1 :]:
        if message.get("tool_calls"):
            break
        if message.get("role") == "tool":
            replies.setdefault(message.get("tool_call_id"), message)
    return replies


def with_valid_calls(message: Message) -> Message:
    """Return an assistant's message whose calls have JSON objects as arguments, `{}` in place of invalid ones; without calls, no key."""
    if not message["tool_calls"]:
        return {name: value for name, value in message.items() if name != "tool_calls"}
    return {**message, "tool_calls": [_with_valid_arguments(call) for call in message["tool_calls"]]}


def _with_valid_arguments(call: dict[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    arguments = function.get("arguments")
    if isinstance(arguments, str) and arguments.strip().startswith("{") and isinstance(parse_arguments(arguments), dict):
        return call
    return {**call, "function": {**function, "arguments": "{}"}}


def reply(call_id: str, text: str) -> Message:
    """Return the message that answers a call."""
    return {"role": "tool", "tool_call_id": call_id, "content": text}
