"""Turn the bodies of requests into messages of the GenAI semantic conventions, for spans (`tracing`).

The bodies are those of chat completions and completions, responses, Anthropic's messages, and embeddings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

TEXTS: Final = frozenset({"text", "input_text", "output_text", "summary_text"})
"""The types of parts that hold a text."""


def attributes_of(body: Mapping[str, Any], answer: str) -> dict[str, str]:
    """Return the messages of a request and the text of its answer as attributes of a span; empty texts are left out."""
    instructions = _parts(body.get("system")) or _parts(body.get("instructions"))
    said = [{"role": "assistant", "parts": [_text(answer)], "finish_reason": "stop"}] if answer else []
    found = {
        "gen_ai.system_instructions": instructions,
        "gen_ai.input.messages": list(_asked(body)),
        "gen_ai.output.messages": said,
    }
    return {name: json.dumps(value, ensure_ascii=False, default=str) for name, value in found.items() if value}


def _asked(body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    given = next((body[name] for name in ("messages", "input", "prompt") if body.get(name)), None)
    for one in given if isinstance(given, list) else [given]:
        if isinstance(one, str):
            yield {"role": "user", "parts": [_text(one)]}
        elif isinstance(one, dict):
            yield _message(one)


def _message(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message, or another item of a response, as a message."""
    kind = item.get("type")
    if kind == "function_call":
        call = {"type": "tool_call", "id": item.get("call_id"), "name": item.get("name"), "arguments": item.get("arguments")}
        return {"role": "assistant", "parts": [call]}
    if kind == "function_call_output":
        return {"role": "tool", "parts": [{"type": "tool_call_response", "id": item.get("call_id"), "response": item.get("output")}]}
    if "role" not in item:
        return {"role": "assistant", "parts": [dict(item)]}
    if item["role"] == "tool":
        response = {"type": "tool_call_response", "id": item.get("tool_call_id"), "response": item.get("content")}
        return {"role": "tool", "parts": [response]}
    calls = item.get("tool_calls")
    return {"role": item["role"], "parts": [*_parts(item.get("content")), *map(_call, calls if isinstance(calls, list) else ())]}


def _call(call: Any) -> Any:
    """Return a call of a tool in the form of the conventions."""
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return call
    return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}


def _parts(content: Any) -> list[Any]:
    """Return a content, a text or a list of parts, in the form of the conventions."""
    if not content:
        return []
    return [_part(part) for part in content] if isinstance(content, list) else [_text(content)]


def _part(part: Any) -> Any:
    if isinstance(part, dict):
        if part.get("type") in TEXTS:
            return _text(part.get("text"))
        if part.get("type") == "tool_use":
            return {"type": "tool_call", "id": part.get("id"), "name": part.get("name"), "arguments": part.get("input")}
        if part.get("type") == "tool_result":
            return {"type": "tool_call_response", "id": part.get("tool_use_id"), "response": part.get("content")}
    return part


def _text(text: Any) -> dict[str, Any]:
    return {"type": "text", "content": text}
