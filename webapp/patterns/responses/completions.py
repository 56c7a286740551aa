"""Translate a Responses server's answers into chat completions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from webapp.patterns.openai.chunk_writer import ChunkWriter, completion_head, usage_body
from webapp.patterns.responses.content import text_of
from webapp.patterns.responses.native import ResponsesDecoder
from webapp.patterns.responses.objects import read_usage
from webapp.patterns.types import Json, StreamChunk


class ChunkDecoder:
    """Decode the stream of a Responses server into the chunks of a chat completion (the interface of `openai.decoder.StreamDecoder`).

    Args:
        writer: writes the chunks.
    """

    def __init__(self, writer: ChunkWriter) -> None:
        self._events = ResponsesDecoder(fails=True)
        self._writer = writer

    @property
    def done(self) -> bool:
        """Return whether the response has ended."""
        return self._events.done

    @property
    def finished(self) -> bool:
        """Return whether the answer is whole."""
        return self._events.finished

    @property
    def error(self) -> Json | None:
        """Return the error that the server reported."""
        return self._events.error

    def feed(self, data: bytes) -> StreamChunk | None:
        """Return what these bytes complete; None while an event is still open."""
        return self._as_chunks(self._events.feed(data))

    def close(self) -> StreamChunk | None:
        """Return what is left at the end of the stream."""
        return self._as_chunks(self._events.close())

    def _as_chunks(self, events: StreamChunk | None) -> StreamChunk | None:
        if events is None:
            return None
        raw = self._writer.write(events.deltas) + (self._writer.done() if self.done else b"")
        return StreamChunk(raw, events.deltas) if raw or events.deltas else None


def to_completion(response: Json) -> Json:
    """Return the chat completion that a whole response stands for."""
    items = [item for item in response.get("output") or () if isinstance(item, dict)]
    calls = [_call(item) for item in items if item.get("type") == "function_call"]
    said: Json = {"role": "assistant", "content": _said(items, "output_text", "text") or (None if calls else "")}
    said["refusal"] = _said(items, "refusal", "refusal") or None
    if thought := "\n\n".join(filter(None, map(_thought, items))):
        said["reasoning_content"] = thought
    if calls:
        said["tool_calls"] = calls
    choice = {"index": 0, "message": said, "logprobs": None, "finish_reason": _finish_reason(response, calls=bool(calls))}
    body: Json = {**completion_head(str(response.get("model") or "")), "object": "chat.completion", "choices": [choice]}
    usage = read_usage(response)
    return {**body, "usage": usage_body(usage)} if usage else body


def _said(items: Iterable[Mapping[str, Any]], kind: str, name: str) -> str:
    parts = (part for item in items if item.get("type") == "message" for part in item.get("content") or ())
    return "".join(str(part.get(name) or "") for part in parts if isinstance(part, dict) and part.get("type") == kind)


def _thought(item: Mapping[str, Any]) -> str:
    """Return the reasoning of an item: as the model wrote it, or its summary."""
    if item.get("type") != "reasoning":
        return ""
    return text_of(item.get("content")) or "\n\n".join(str(part.get("text") or "") for part in item.get("summary") or ())


def _call(item: Mapping[str, Any]) -> Json:
    function = {"name": item.get("name"), "arguments": item.get("arguments") or ""}
    return {"id": item.get("call_id") or item.get("id"), "type": "function", "function": function}


def _finish_reason(response: Mapping[str, Any], *, calls: bool) -> str:
    reason = (response.get("incomplete_details") or {}).get("reason")
    if reason == "max_output_tokens":
        return "length"
    if reason:
        return "content_filter"
    return "tool_calls" if calls else "stop"
