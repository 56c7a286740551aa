"""Translate an Anthropic server's answers into chat completions."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webapp.patterns.types import Delta, Json, ToolCallDelta, Usage

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


def usage_body(usage: Usage) -> Json:
    """Return token counts as a chat completion has them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


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
        **_head(str(message.get("model") or "")),
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


def _head(model: str) -> Json:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


class ChunkWriter:
    """Writes the deltas of one message as the chunks of a chat completion.

    Args:
        model: the model that was asked for.
        include_usage: whether the caller asked for the usage.
    """

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._head = {**_head(model), "object": "chat.completion.chunk"}
        self._include_usage = include_usage
        self._usage: Usage | None = None
        self._began = False

    def write(self, deltas: Sequence[Delta]) -> bytes:
        """Return the chunks that say the same as the deltas."""
        return b"".join(self._chunk(delta) for delta in deltas)

    def done(self) -> bytes:
        """Return the end of the stream."""
        usage = b""
        if self._include_usage and self._usage is not None:
            usage = self._event({"choices": [], "usage": usage_body(self._usage)})
        return usage + b"data: [DONE]\n\n"

    def _chunk(self, delta: Delta) -> bytes:
        if delta.usage is not None:
            self._usage = delta.usage
        content: Json = {} if self._began else {"role": "assistant", "content": ""}
        if delta.text:
            content["content"] = delta.text
        if delta.reasoning:
            content["reasoning_content"] = delta.reasoning
        if delta.tool_calls:
            content["tool_calls"] = [_fragment(call) for call in delta.tool_calls]
        if not content and not delta.finish_reason:
            return b""
        self._began = True
        return self._event({"choices": [{"index": 0, "delta": content, "logprobs": None, "finish_reason": delta.finish_reason or None}]})

    def _event(self, fields: Json) -> bytes:
        return b"data: " + _encode({**self._head, **fields}).encode("utf-8", "replace") + b"\n\n"


def _fragment(call: ToolCallDelta) -> Json:
    function = {"name": call.name, "arguments": call.arguments} if call.name else {"arguments": call.arguments}
    begun = {"id": call.id, "type": "function"} if call.id else {}
    return {"index": call.index, **begun, "function": function}
