"""Write what a server of another protocol says as the chunks of a chat completion."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Sequence

from webapp.patterns.types import Delta, Json, ToolCallDelta, Usage

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def completion_head(model: str) -> Json:
    """Return the fields that each chunk of a completion has."""
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "created": int(time.time()), "model": model}


def usage_body(usage: Usage) -> Json:
    """Return token counts as a chat completion has them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


class ChunkWriter:
    """Writes the deltas of one answer as the chunks of a chat completion.

    Args:
        model: the model that was asked for.
        include_usage: whether the caller asked for the usage.
    """

    def __init__(self, model: str, *, include_usage: bool) -> None:
        self._head = {**completion_head(model), "object": "chat.completion.chunk"}
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
        if delta.refusal:
            content["refusal"] = delta.refusal
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
