"""Adapt requests and complete answers to one server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from webapp.patterns.errors import CapabilityMissing, InputError
from webapp.patterns.openai.choices import repair_whole
from webapp.patterns.openai.tool_calls import new_call_id
from webapp.patterns.types import Json, Message, Request

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
STREAMING = frozenset({"chat/completions", "completions"})


def normalize_request(body: Mapping[str, Any], *, stream: bool, capabilities: Mapping[str, bool]) -> Json:
    """Return the body to send, in the form that the server accepts.

    Explicit nulls are removed, roles and content parts are adapted, and streams request usage.

    Capabilities that are False change the body: `developer_role`, `content_parts`, `stream_usage`, `parallel_tools`.
    """
    sent = {name: value for name, value in body.items() if value is not None}
    messages = sent.get("messages")
    if isinstance(messages, list):
        adapted = [_message(message, capabilities) for message in messages]
        if any(new is not old for new, old in zip(adapted, messages, strict=True)):
            sent["messages"] = adapted
    if capabilities.get("parallel_tools") is False:
        sent.pop("parallel_tool_calls", None)
    if stream:
        sent["stream"] = True
        if capabilities.get("stream_usage") is False:
            sent.pop("stream_options", None)
        else:
            sent["stream_options"] = {**(sent.get("stream_options") or {}), "include_usage": True}
    else:
        sent.pop("stream", None)
        sent.pop("stream_options", None)
    return sent


def check_translated(request: Request, protocol: str) -> None:
    """Refuse a request of another protocol that no chat completion can stand for, unless the server gets it in that protocol.

    Raises:
        CapabilityMissing: with the reason.
    """
    if request.native is not None and request.native.untranslatable and protocol != request.native.protocol:
        raise CapabilityMissing(request.native.untranslatable, status=400)


def encoded(body: Json) -> bytes:
    """Return the body as JSON bytes.

    Raises:
        InputError: a number that JSON does not have (NaN, Infinity).
    """
    try:
        text = _encode(body)
    except (ValueError, TypeError, RecursionError) as error:
        raise InputError(f"The request cannot be sent as JSON: {error}") from error
    try:
        return text.encode()
    except UnicodeEncodeError:  # a lone surrogate is valid only as an escape
        return json.dumps(body, separators=(",", ":")).encode()


def _message(message: Any, capabilities: Mapping[str, bool]) -> Any:
    if not isinstance(message, dict):
        return message
    changed: Message | None = None
    if None in message.values():
        changed = {name: value for name, value in message.items() if value is not None or name == "content"}
    content = message.get("content")
    if isinstance(content, list) and any(_has_null(part) for part in content):
        changed = {**(changed or message), "content": [_without_nulls(part) for part in content]}
    if message.get("role") == "developer" and capabilities.get("developer_role") is False:
        changed = {**(changed or message), "role": "system"}
    if isinstance(message.get("content"), list) and capabilities.get("content_parts") is False:
        changed = {**(changed or message), "content": _flat(message["content"])}
    return message if changed is None else changed


def _has_null(part: Any) -> bool:
    """Return whether a content part, or the object in it (`image_url`), has a field that is null."""
    return isinstance(part, dict) and any(value is None or (isinstance(value, dict) and None in value.values()) for value in part.values())


def _without_nulls(part: Any) -> Any:
    if not isinstance(part, dict):
        return part
    inner = {name: _without_nulls(value) if isinstance(value, dict) else value for name, value in part.items()}
    return {name: value for name, value in inner.items() if value is not None}


def _flat(parts: list[Any]) -> Any:
    """Return text parts as one text; unchanged if one is not text."""
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    return parts if None in texts else "\n".join(str(text) for text in texts)


def normalize_response(body: Json, *, legacy: bool = False) -> bool:
    """Repair the choices of a whole answer in place (`choices.repair_whole`); return whether that changed anything.

    Raises:
        Failure: a choice says that the answer failed.
    """
    changed = False
    for choice in body.get("choices") or ():
        if isinstance(choice, dict):
            changed |= repair_whole(choice, new_call_id, legacy=legacy)
    return changed


def as_stream(body: Json) -> bytes:
    """Return a complete answer as the events of a stream, for a server that ignored the request to stream."""
    choices = [choice for choice in body.get("choices") or () if isinstance(choice, dict)]
    chunk = {**body, "object": "chat.completion.chunk", "choices": [_as_delta(choice) for choice in choices]}
    return b"data: " + encoded(chunk) + b"\n\ndata: [DONE]\n\n"


def _as_delta(choice: Json) -> Json:
    rest = {name: value for name, value in choice.items() if name != "message"}
    return {**rest, "delta": choice["message"]} if isinstance(choice.get("message"), dict) else rest
