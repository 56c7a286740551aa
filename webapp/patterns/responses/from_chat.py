"""Translate a chat completion request to a Responses request, for servers that speak nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from webapp.patterns.errors import InputError
from webapp.patterns.responses.content import text_of
from webapp.patterns.types import Json

SYSTEM_ROLES: Final = frozenset({"system", "developer"})
_SAME: Final = ("model", "temperature", "top_p", "user", "parallel_tool_calls", "service_tier", "prompt_cache_key", "safety_identifier")


def from_chat(body: Mapping[str, Any]) -> Json:
    """Return the body of the Responses request that asks for the same. The server stores nothing.

    `seed`, `logit_bias` and the penalties are left out: the protocol has no place for them, and servers treat them as hints.

    Raises:
        InputError: it asks for what the protocol cannot do: several choices, log probabilities of chat completions, stop sequences,
            spoken answers, or a kind of content.
    """
    _check(body)
    messages = list(body.get("messages") or ())
    leading = next((number for number, message in enumerate(messages) if message.get("role") not in SYSTEM_ROLES), 0)
    sent: Json = {name: body[name] for name in _SAME if body.get(name) is not None}
    sent["store"] = False
    if leading:
        sent["instructions"] = "\n\n".join(text_of(message.get("content")) for message in messages[:leading])
    sent["input"] = [item for message in messages[leading:] for item in _items(message)]
    if limit := body.get("max_completion_tokens") or body.get("max_tokens"):
        sent["max_output_tokens"] = limit
    if body.get("reasoning_effort"):
        sent["reasoning"] = {"effort": body["reasoning_effort"]}
    if text := _text(body):
        sent["text"] = text
    return {**sent, **_tools(body)}


def _check(body: Mapping[str, Any]) -> None:
    if (body.get("n") or 1) > 1:
        raise InputError("A Responses server gives one choice only.", param="n")
    for name, what in (("logprobs", "log probabilities"), ("stop", "stop sequences"), ("audio", "spoken answers")):
        if body.get(name):
            raise InputError(f"This server speaks the Responses protocol only, which has no {what} as chat completions have.", param=name)


def _items(message: Mapping[str, Any]) -> Iterable[Json]:
    """Yield the items that a message stands for: an assistant's text and its calls are items of their own."""
    role, content = message.get("role"), message.get("content")
    if role == "tool":
        yield {"type": "function_call_output", "call_id": message.get("tool_call_id"), "output": text_of(content)}
        return
    if role == "assistant":
        said = text_of(content) or str(message.get("refusal") or "")
        if said:
            yield {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": said, "annotations": []}]}
        for call in message.get("tool_calls") or ():
            if isinstance(call.get("function"), dict):
                yield _call(call)
        return
    parts = [{"type": "input_text", "text": content}] if isinstance(content, str) else [_part(part) for part in content or ()]
    yield {"type": "message", "role": role, "content": parts}


def _call(call: Mapping[str, Any]) -> Json:
    function = call["function"]
    arguments = str(function.get("arguments") or "{}")
    return {"type": "function_call", "call_id": call.get("id"), "name": function.get("name"), "arguments": arguments}


def _part(part: Mapping[str, Any]) -> Json:
    match part.get("type"):
        case "text":
            return {"type": "input_text", "text": str(part.get("text") or "")}
        case "image_url":
            image = part.get("image_url") or {}
            return {"type": "input_image", "image_url": image.get("url"), "detail": image.get("detail") or "auto"}
        case "file":
            file = part.get("file") or {}
            return {"type": "input_file", **{name: file[name] for name in ("file_id", "filename", "file_data") if file.get(name)}}
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
        case kind:
            raise InputError(f"A Responses server takes no content of type {kind!r}.", param="messages")


def _text(body: Mapping[str, Any]) -> Json:
    """Return the `text` field: the form of the answer, and how wordy it is."""
    wanted = body.get("response_format")
    text: Json = {"verbosity": body["verbosity"]} if body.get("verbosity") else {}
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        text["format"] = {"type": "json_schema", **(wanted.get("json_schema") or {})}
    elif isinstance(wanted, dict) and wanted.get("type") not in {None, "text"}:
        text["format"] = {"type": wanted["type"]}
    return text


def _tools(body: Mapping[str, Any]) -> Json:
    functions = [tool["function"] for tool in body.get("tools") or () if isinstance(tool.get("function"), dict)]
    functions += [function for function in body.get("functions") or () if isinstance(function, dict)]
    if not functions:
        return {}
    choice = _choice(body.get("tool_choice"))
    return {"tools": [_tool(function) for function in functions], **({"tool_choice": choice} if choice else {})}


def _tool(function: Mapping[str, Any]) -> Json:
    """Return a function tool. `strict` is said always: the protocol takes it as true where a request leaves it out."""
    parameters = function.get("parameters") or {"type": "object", "properties": {}}
    tool: Json = {"type": "function", "name": function["name"], "parameters": parameters, "strict": bool(function.get("strict"))}
    return {**tool, "description": function["description"]} if function.get("description") else tool


def _choice(choice: Any) -> Any:
    if not isinstance(choice, dict):
        return choice
    name = (choice.get("function") or {}).get("name")
    return {"type": "function", "name": name} if name else None
