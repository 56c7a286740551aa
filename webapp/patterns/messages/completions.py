"""Translate an Anthropic server's answers into chat completions."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webapp.patterns.openai.chunk_writer import completion_head, usage_body
from webapp.patterns.types import Json, Usage

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def read_usage(body: Mapping[str, Any]) -> Usage | None:
    """Return the token counts of a message; None where it holds none. Tokens written to and read from the cache are prompt tokens, too."""
    usage = body.get("usage")
    if not isinstance(usage, dict):
        return None
    cached = _count(usage.get("cache_read_input_tokens"))
    prompt = _count(usage.get("input_tokens")) + cached + _count(usage.get("cache_creation_input_tokens"))
    details = usage.get("output_tokens_details")
    reasoning = _count(details.get("thinking_tokens")) if isinstance(details, dict) else 0
    return Usage(prompt, _count(usage.get("output_tokens")), cached, reasoning)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def to_completion(message: Mapping[str, Any]) -> Json:
    """Return the chat completion that a message stands for."""
    blocks = [block for block in message.get("content") or () if isinstance(block, dict)]
    calls = [_call(block) for block in blocks if block.get("type") == "tool_use"]
    said: Json = {"role": "assistant", "content": _text(blocks, "text") or (None if calls else ""), "refusal": None}
    if thought := _text(blocks, "thinking"):
        said["reasoning_content"] = thought
    if calls:
        said["tool_calls"] = calls
    finish = FINISH_REASONS.get(str(message.get("stop_reason")), "stop")
    body = {
        **completion_head(str(message.get("model") or "")),
        "object": "chat.completion",
        "choices": [{"index": 0, "message": said, "logprobs": None, "finish_reason": finish}],
    }
    usage = read_usage(message)
    return {**body, "usage": usage_body(usage)} if usage else body


def _text(blocks: Sequence[Mapping[str, Any]], kind: str) -> str:
    return "".join(str(block.get(kind) or "") for block in blocks if block.get("type") == kind)


def _call(block: Mapping[str, Any]) -> Json:
    arguments = _encode(block.get("input") or {})
    return {"id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}}
