"""Translate a whole chat completion to a message."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webapp.patterns.agent.tools import parse_arguments
from webapp.patterns.types import NO_USAGE, Json, Response, Usage

SIGNATURE: Final = "cGF0Y2hiYXk="
"""The signature of thinking that came from a chat server: Anthropic's own servers would refuse it, so it is never sent to them."""
STOP_REASONS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


def new_message_id() -> str:
    """Return a new id: `msg_` and 24 hex digits."""
    return f"msg_{uuid.uuid4().hex[:24]}"


def usage_fields(usage: Usage) -> Json:
    """Return token counts as Anthropic counts them: `input_tokens` are those that the server did not read from its cache."""
    cached = min(usage.cached_tokens, usage.prompt_tokens)
    return {
        "input_tokens": usage.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.completion_tokens,
    }


def to_message(answer: Response, *, model: str, usage: Usage = NO_USAGE, thinking: bool = False, stops: Sequence[str] = ()) -> Json:
    """Return the message that a chat completion stands for.

    Args:
        answer: with at least one choice; the first counts.
        model: the name that the caller asked for.
        usage: the token counts, estimated where the server gave none.
        thinking: whether the caller asked to see the reasoning.
        stops: the caller's stop sequences. A server that says which one it met (vLLM's `stop_reason`) is believed.
    """
    choice: Mapping[str, Any] = answer.body["choices"][0]
    reason, stop = stop_reason(answer.finish_reason, choice, stops)
    message = answer.message
    return {
        "id": new_message_id(),
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": _content(message, thinking=thinking),
        "stop_reason": "refusal" if message.get("refusal") and reason == "end_turn" else reason,
        "stop_sequence": stop,
        "usage": usage_fields(usage),
    }


def stop_reason(finish_reason: str, choice: Mapping[str, Any], stops: Sequence[str]) -> tuple[str, str | None]:
    """Return Anthropic's `stop_reason` and `stop_sequence` for the end of a choice."""
    met = choice.get("stop_reason")
    if finish_reason == "stop" and isinstance(met, str) and met in stops:
        return "stop_sequence", met
    return STOP_REASONS.get(finish_reason, "end_turn"), None


def tool_input(arguments: str) -> Json:
    """Return the input of a call. Arguments that are not a JSON object are kept as text, so that the tool can report the error."""
    parsed = parse_arguments(arguments or "{}")
    return parsed if isinstance(parsed, dict) else {"invalid_arguments": arguments}


def _content(message: Mapping[str, Any], *, thinking: bool) -> list[Json]:
    blocks: list[Json] = []
    reasoning = _joined(message.get("reasoning_content") or message.get("reasoning"))
    if reasoning and thinking:
        blocks.append({"type": "thinking", "thinking": reasoning, "signature": SIGNATURE})
    if text := _joined(message.get("content")) + _joined(message.get("refusal")):
        blocks.append({"type": "text", "text": text})
    blocks += [_tool_use(call) for call in message.get("tool_calls") or () if isinstance(call, dict)]
    return blocks


def _tool_use(call: Mapping[str, Any]) -> Json:
    function = call.get("function") or {}
    return {
        "type": "tool_use",
        "id": call.get("id") or f"toolu_{uuid.uuid4().hex[:24]}",
        "name": function.get("name") or "",
        "input": tool_input(function.get("arguments") or ""),
    }


def _joined(value: Any) -> str:
    """Return content as text; servers send it as parts, too."""
    if isinstance(value, list):
        return "".join(_joined(part.get("text") if isinstance(part, dict) else part) for part in value)
    return value if isinstance(value, str) else ""
