"""Read requests for the built-in models: check OpenAI's schema, then the limits of these models. Unknown fields are accepted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from webapp.builtin import catalog, text_parts
from webapp.patterns.errors import InputError
from webapp.patterns.openai.request_schema import SCHEMAS
from webapp.patterns.types import Json, Message

MAX_CHOICES = 16
ROLES = frozenset({"developer", "system", "user", "assistant", "tool", "function"})


class ApiError(Exception):
    """An error response in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class Options:
    """Options that chat and plain completions share."""

    stream: bool
    include_usage: bool
    choices: int
    max_tokens: int | None
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A valid chat request.

    `tools` maps names to their function objects; `choice` is "auto", "none", "required" or a tool's name; `schema` is the JSON schema of
    the answer, `{}` for any object, None for plain text.
    """

    messages: list[Message]
    tools: dict[str, Json]
    choice: str
    parallel: bool
    schema: Json | None
    options: Options
    prompt_tokens: int


def checked(body: Json, path: str, models: Sequence[str]) -> Json:
    """Check a body against OpenAI's schema for `path` and against `models`; return it without its nulls.

    Raises:
        ApiError: the body is not valid, or the model is not one of `models`.
    """
    body = {name: value for name, value in body.items() if value is not None}
    check_model(body.get("model"), models)
    try:
        SCHEMAS[path].check(body, "")
    except InputError as error:
        raise ApiError(400, error.message, param=error.param, code=error.code) from error
    return body


def check_model(name: Any, models: Sequence[str]) -> None:
    """Refuse a request without a model (400) or for an unknown one (404)."""
    if not name or not isinstance(name, str):
        raise ApiError(400, "you must provide a model parameter", param="model", code="missing_required_parameter")
    if name not in models:
        raise ApiError(404, f"The model '{name[:200]}' does not exist here.", param="model", code="model_not_found")


def read_chat(body: Json) -> Ask:
    """Read a request for a chat completion.

    Raises:
        ApiError: the request is not valid.
    """
    body = checked(body, "chat/completions", [catalog.CHAT_MODEL])
    messages: list[Message] = body["messages"]
    _check_roles(messages)
    _check_text_only(messages)
    _check_replies(messages)
    prompt_tokens = text_parts.count_messages(messages)
    _check_window(prompt_tokens)
    tools = {tool["function"]["name"]: tool["function"] for tool in body.get("tools", ()) if tool["type"] == "function"}
    return Ask(
        messages=messages,
        tools=tools,
        choice=_tool_choice(body.get("tool_choice", "auto"), tools),
        parallel=body.get("parallel_tool_calls", True),
        schema=_schema(body.get("response_format", {"type": "text"})),
        options=_options(body),
        prompt_tokens=prompt_tokens + sum(text_parts.count(json.dumps(tool)) for tool in tools.values()),
    )


def read_completion(body: Json) -> tuple[list[str], Options]:
    """Return the prompts and options of a plain completion.

    Raises:
        ApiError: the request is not valid, or its prompt consists of token ids.
    """
    body = checked(body, "completions", [catalog.CHAT_MODEL])
    prompts = [body["prompt"]] if isinstance(body["prompt"], str) else body["prompt"]
    if not isinstance(prompts[0], str):
        _refuse("prompt of token ids: it has none", "prompt")
    _check_window(sum(map(text_parts.count, prompts)))
    return prompts, _options(body)


def _limit(tokens: int | None) -> int | None:
    """Return the longest answer in tokens; None for no limit, which clients also write as -1."""
    return tokens if tokens and tokens > 0 else None


def _options(body: Json) -> Options:
    usage = body.get("stream_options", {})
    if usage and not body.get("stream"):
        raise ApiError(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    if body.get("logprobs"):
        _refuse("logprobs: it has no probabilities", "logprobs")
    if body.get("n", 1) > MAX_CHOICES:
        _refuse(f"more than {MAX_CHOICES} choices", "n")
    stop = body.get("stop", [])
    return Options(
        stream=body.get("stream", False),
        include_usage=usage.get("include_usage", False),
        choices=body.get("n", 1),
        max_tokens=_limit(body.get("max_completion_tokens", body.get("max_tokens"))),
        stops=tuple(filter(None, [stop] if isinstance(stop, str) else stop)),
    )


def _refuse(what: str, param: str) -> NoReturn:
    raise ApiError(400, f"{catalog.CHAT_MODEL} does not support {what}.", param=param, code="unsupported_value")


def _check_text_only(messages: list[Message]) -> None:
    for position, message in enumerate(messages):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if part["type"] not in {"text", "refusal"}:
                _refuse(f"content of type '{part['type'][:50]}': text only", f"messages[{position}].content[{place}]")


def _check_roles(messages: list[Message]) -> None:
    for position, message in enumerate(messages):
        if message["role"] not in ROLES:
            text = f"Invalid value: '{message['role'][:100]}'. Supported values are: {', '.join(sorted(ROLES))}."
            raise ApiError(400, text, param=f"messages[{position}].role", code="invalid_value")


def _check_replies(messages: list[Message]) -> None:
    """Check that each tool call is followed by its reply, and that each reply has a call."""
    open_calls: set[str] = set()
    for position, message in enumerate(messages):
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                text = "Messages with role 'tool' must be a response to a preceding message with 'tool_calls'."
                raise ApiError(400, text, param=f"messages[{position}].role")
            open_calls.discard(message["tool_call_id"])
        elif open_calls:
            break
        else:
            open_calls = {call["id"] for call in message.get("tool_calls") or () if "function" in call}
    if open_calls:
        text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
        raise ApiError(400, f"{text} Without a response: {', '.join(sorted(open_calls))[:200]}.", param="messages")


def _check_window(tokens: int) -> None:
    if tokens > catalog.CHAT_WINDOW:
        raise ApiError(
            400,
            f"This model's maximum context length is {catalog.CHAT_WINDOW} tokens. However, your messages resulted in {tokens} tokens. "
            "Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )


def _tool_choice(choice: Any, tools: dict[str, Json]) -> str:
    if isinstance(choice, dict):
        function = choice.get("function")
        choice = function.get("name") if isinstance(function, dict) else None
        known = isinstance(choice, str) and choice in tools
    else:
        known = choice != "required" or bool(tools)
    if not known:
        raise ApiError(400, "Invalid value for 'tool_choice': it names no tool on offer.", param="tool_choice", code="invalid_value")
    return str(choice)


def _schema(wanted: Json) -> Json | None:
    match wanted["type"]:
        case "json_schema":
            return _checked_schema(wanted["json_schema"].get("schema", {}))
        case "json_object":
            return {}
        case "text":
            return None
    _refuse(f"response_format '{wanted['type']}'", "response_format.type")


def _checked_schema(schema: Json) -> Json:
    from jsonschema import Draft202012Validator, SchemaError

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        path = "response_format.json_schema.schema"
        raise ApiError(400, f"Invalid schema: {error.message[:300]}", param=path, code="invalid_json_schema") from error
    return schema
