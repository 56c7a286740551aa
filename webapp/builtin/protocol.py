"""Reading requests as OpenAI's API reads them: what is wrong is said with the field's path and a code. Unknown fields are accepted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from webapp.builtin import catalog, pieces
from webapp.patterns.types import Json, Message

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
MAX_CHOICES = 16
MAX_STOPS = 4


class ApiError(Exception):
    """An error answer in OpenAI's shape."""

    def __init__(self, status: int, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": "invalid_request_error", "param": param, "code": code}}


@dataclass(frozen=True, slots=True)
class Options:
    """What chat and plain completions have in common."""

    stream: bool
    include_usage: bool
    choices: int
    max_tokens: int | None
    stops: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ask:
    """A chat request that was found valid.

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


def read_chat(body: Json) -> Ask:
    """The request for a chat completion.

    Raises:
        ApiError: it is not a valid one.
    """
    check_model(body)
    messages = _messages(body)
    tools = _tools(body)
    prompt_tokens = pieces.count_messages(messages)
    _check_window(prompt_tokens)
    return Ask(
        messages=messages,
        tools=tools,
        choice=_tool_choice(body, tools),
        parallel=_typed(body, "parallel_tool_calls", bool, default=True),
        schema=_schema(body),
        options=read_options(body),
        prompt_tokens=prompt_tokens,
    )


def read_prompts(body: Json) -> list[str]:
    """The prompts of a plain completion.

    Raises:
        ApiError: there is none, or one of token ids.
    """
    check_model(body)
    prompt = body.get("prompt")
    prompts = [prompt] if isinstance(prompt, str) else prompt
    if not isinstance(prompts, list) or not prompts or not all(isinstance(each, str) for each in prompts):
        raise _invalid("prompt", "a string or a list of strings; this model has no token ids")
    _check_window(sum(map(pieces.count, prompts)))
    return prompts


def read_options(body: Json) -> Options:
    """Streaming, length, choices and stops.

    Raises:
        ApiError: one of them is wrong.
    """
    stream = _typed(body, "stream", bool, default=False)
    stream_options = _typed(body, "stream_options", dict, default={})
    if stream_options and not stream:
        raise ApiError(400, "The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")
    if body.get("logprobs"):
        raise ApiError(400, f"{catalog.CHAT_MODEL} does not support logprobs: it has no probabilities.", param="logprobs")
    _check_range(body, "temperature", 0, 2)
    _check_range(body, "top_p", 0, 1)
    limits = [_whole(body, name, 1, 2**31) for name in ("max_completion_tokens", "max_tokens")]
    return Options(
        stream=stream,
        include_usage=bool(stream_options.get("include_usage")),
        choices=_whole(body, "n", 1, MAX_CHOICES) or 1,
        max_tokens=next((limit for limit in limits if limit is not None), None),
        stops=_stops(body),
    )


def check_model(body: Json, models: Sequence[str] = (catalog.CHAT_MODEL,)) -> None:
    """Refuse a request that is for no model, or for another.

    Raises:
        ApiError: 400 without a model, 404 for an unknown one.
    """
    name = body.get("model")
    if not isinstance(name, str) or not name:
        raise ApiError(400, "you must provide a model parameter", param="model", code="missing_required_parameter")
    if name not in models:
        raise ApiError(404, f"The model '{name[:200]}' does not exist here.", param="model", code="model_not_found")


def _check_window(tokens: int) -> None:
    if tokens > catalog.CHAT_WINDOW:
        raise ApiError(
            400,
            f"This model's maximum context length is {catalog.CHAT_WINDOW} tokens. However, your messages resulted in {tokens} tokens. "
            "Please reduce the length of the messages.",
            param="messages",
            code="context_length_exceeded",
        )


def _messages(body: Json) -> list[Message]:
    if body.get("messages") is None:
        raise ApiError(400, "Missing required parameter: 'messages'.", param="messages", code="missing_required_parameter")
    messages = body["messages"]
    if not isinstance(messages, list):
        raise _invalid("messages", "an array of objects")
    if not messages:
        raise ApiError(400, "Invalid 'messages': empty array. Expected at least one message.", param="messages", code="empty_array")
    for position, message in enumerate(messages):
        _check_message(f"messages[{position}]", message)
    _check_replies(messages)
    return messages


def _check_message(path: str, message: Any) -> None:
    if not isinstance(message, dict):
        raise _invalid(path, "an object")
    role = message.get("role")
    if role not in ROLES:
        raise ApiError(400, f"Invalid value for '{path}.role': one of {', '.join(ROLES)}.", param=f"{path}.role", code="invalid_value")
    if message.get("tool_calls") is not None:
        _check_calls(f"{path}.tool_calls", message["tool_calls"])
    _check_content(f"{path}.content", message.get("content"), optional=role == "assistant")
    if role == "tool" and not isinstance(message.get("tool_call_id"), str):
        raise ApiError(400, f"Missing parameter '{path}.tool_call_id'.", param=f"{path}.tool_call_id", code="missing_required_parameter")


def _check_content(path: str, content: Any, *, optional: bool) -> None:
    if isinstance(content, str) or (content is None and optional):
        return
    if not isinstance(content, list):
        raise _invalid(path, "a string or an array of parts")
    for position, part in enumerate(content):
        where = f"{path}[{position}]"
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise _invalid(where, "an object with a type")
        if part["type"] not in {"text", "input_text", "refusal"}:
            raise ApiError(400, f"{catalog.CHAT_MODEL} does not support content of type '{part['type'][:50]}': text only.", param=where)
        if part["type"] != "refusal" and not isinstance(part.get("text"), str):
            raise _invalid(f"{where}.text", "a string")


def _check_calls(path: str, calls: Any) -> None:
    if not isinstance(calls, list):
        raise _invalid(path, "an array")
    for position, call in enumerate(calls):
        function = call.get("function") if isinstance(call, dict) else None
        if not isinstance(function, dict) or not all(isinstance(function.get(key), str) for key in ("name", "arguments")):
            raise _invalid(f"{path}[{position}].function", "an object with a name and arguments, both strings")
        if not isinstance(call.get("id"), str):
            raise _invalid(f"{path}[{position}].id", "a string")


def _check_replies(messages: list[Message]) -> None:
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
            open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    if open_calls:
        text = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'."
        raise ApiError(400, f"{text} Without a response: {', '.join(sorted(open_calls))[:200]}.", param="messages")


def _tools(body: Json) -> dict[str, Json]:
    tools: dict[str, Json] = {}
    for position, tool in enumerate(_typed(body, "tools", list, default=[])):
        function = tool.get("function") if isinstance(tool, dict) else None
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise _invalid(f"tools[{position}].function", "an object with a name")
        if not isinstance(function.get("parameters", {}), dict):
            raise _invalid(f"tools[{position}].function.parameters", "a JSON schema")
        tools[function["name"]] = function
    return tools


def _tool_choice(body: Json, tools: dict[str, Json]) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if isinstance(choice, dict):
        choice = (choice.get("function") or {}).get("name")
        if choice in tools:
            return str(choice)
    elif choice in {"auto", "none"} or (choice == "required" and tools):
        return str(choice)
    raise ApiError(400, "Invalid value for 'tool_choice': it names no tool on offer.", param="tool_choice", code="invalid_value")


def _schema(body: Json) -> Json | None:
    wanted = _typed(body, "response_format", dict, default={})
    match wanted.get("type"):
        case None | "text":
            return None
        case "json_object":
            return {}
        case "json_schema":
            return _checked_schema(wanted.get("json_schema"))
    raise ApiError(400, "Invalid value for 'response_format.type'.", param="response_format.type", code="invalid_value")


def _checked_schema(given: Any) -> Json:
    from jsonschema import Draft202012Validator, SchemaError

    path = "response_format.json_schema"
    if not isinstance(given, dict) or not isinstance(given.get("name"), str) or not isinstance(given.get("schema"), dict):
        raise _invalid(path, "an object with a name and a schema")
    schema: Json = given["schema"]
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ApiError(400, f"Invalid schema: {error.message[:300]}", param=path, code="invalid_json_schema") from error
    return schema


def _stops(body: Json) -> tuple[str, ...]:
    stop = body.get("stop")
    stops = [] if stop is None else [stop] if isinstance(stop, str) else stop
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(isinstance(each, str) for each in stops):
        raise _invalid("stop", f"a string or up to {MAX_STOPS} strings")
    return tuple(each for each in stops if each)


def _typed(body: Json, name: str, kind: type[Any], *, default: Any) -> Any:
    """A field of that type; null counts as absent."""
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind):
        raise _invalid(name, {bool: "a boolean", dict: "an object", list: "an array"}[kind])
    return value


def _whole(body: Json, name: str, low: int, high: int) -> int | None:
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise _invalid(name, f"a whole number from {low} to {high}")
    return value


def _check_range(body: Json, name: str, low: float, high: float) -> None:
    value = body.get(name)
    if value is None:
        return
    if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
        raise _invalid(name, f"a number from {low:g} to {high:g}")


def _invalid(path: str, expected: str) -> ApiError:
    return ApiError(400, f"Invalid value for '{path}': expected {expected}.", param=path, code="invalid_type")
