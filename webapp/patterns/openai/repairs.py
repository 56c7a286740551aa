"""Change a request that a model refuses into one that it takes, and remember the change for the model.

A repair leaves the meaning of a request alone: it renames a limit, drops a sampling parameter that the model does not have, or says the
same words in another role. Tools, images, stop words and the form of the answer stay: a caller who needs them must hear
that they are missing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from webapp.patterns import errors
from webapp.patterns.types import Json, Message

PATHS: Final = frozenset({"chat/completions", "completions", "embeddings"})
MOST: Final = 4
"""Repairs of one request: some models refuse one parameter at a time."""
WITHOUT: Final = "without "
DROPPABLE: Final = frozenset({
    "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "seed", "user",
    "store",
    "metadata", "parallel_tool_calls", "stream_options", "reasoning_effort", "verbosity", "service_tier", "prompt_cache_key",
    "prompt_cache_retention", "safety_identifier", "prediction", "reasoning", "thinking", "chat_template_kwargs",
})  # fmt: skip
"""Parameters that a request can do without."""
VALUED: Final = frozenset({"reasoning_effort", "verbosity", "service_tier", "prompt_cache_retention"})
"""Of these a model may refuse one value and take another."""
_KEPT_IN_MESSAGES: Final = ("role", "content", "tool_calls", "tool_call_id", "function_call")
_MESSAGE_FIELDS: Final = re.compile(r"\b(name|refusal|reasoning|reasoning_content|annotations|audio|cache_control|prefix|partial)\b")
_BAD_VALUE: Final = re.compile(
    r"unsupported[ _]value|invalid value|does not support '|must be one of|not one of|input should be", re.IGNORECASE
)

OnLearned = Callable[[str, str, str], None]
"""(model, repair, the refusal in words)."""


class Adaptations:
    """The repairs that the models of one backend need.

    Args:
        known: model to its repairs.
        on_learned: called when a repaired request was answered for the first time.
    """

    def __init__(self, known: Mapping[str, Iterable[str]] | None = None, on_learned: OnLearned | None = None) -> None:
        self._known = {model: tuple(repairs) for model, repairs in (known or {}).items()}
        self._on_learned = on_learned

    def of(self, model: str) -> tuple[str, ...]:
        """Return the repairs of a model, in the order in which they apply."""
        return self._known.get(model, ())

    def replace(self, known: Mapping[str, Iterable[str]]) -> None:
        """Take these in the place of all that is known."""
        self._known = {model: tuple(repairs) for model, repairs in known.items()}

    def learn(self, model: str, repair: str, why: str) -> None:
        """Remember a repair that worked."""
        if repair in self.of(model):
            return
        self._known[model] = (*self.of(model), repair)
        if self._on_learned:
            self._on_learned(model, repair, why)


def find_repair(error: errors.BackendError, body: Json, done: Iterable[str] = ()) -> str | None:
    """Return the repair that makes a server take a request it refused; None where there is none, or it was `done` already."""
    if not isinstance(error, errors.CapabilityMissing | errors.RequestRejected) or isinstance(error, errors.ContentRefused):
        return None
    known = set(done)
    return next((name for name in _candidates(error, body) if name not in known), None)


def _candidates(error: errors.BackendError, body: Json) -> Iterator[str]:
    raw = error.body or {}
    text = " ".join(str(part) for part in (error.detail or error.message, raw.get("param"), raw.get("code")) if part)
    refused = isinstance(error, errors.ParameterRefused)
    named = [name for name in _named(str(raw.get("param") or ""), text) if name in body]
    yield from _renames(text, body, named, refused=refused)
    if refused:
        yield from _roles(text, body)
        yield from (_without(name, body[name], text) for name in named if name in DROPPABLE)
        if re.search(r"thinking|reasoning", text) and "reasoning_effort" in body:  # Ollama names the feature, not the parameter
            yield _without("reasoning_effort", body["reasoning_effort"], text)
        if "encoding" in text or "base64" in text:
            yield from ["numbers for base64"] if body.get("encoding_format") == "base64" else []
    if "alternate" in text:
        yield "merged roles"
    if re.search(r"content.{0,60}(?:must|should) be a (?:valid )?string|content parts|not a string", text, re.IGNORECASE):
        yield from ["text for parts"] if _has_text_parts(body) else []
    if "messages" in text and _MESSAGE_FIELDS.search(text) and _has_extra_fields(body):
        yield "plain messages"
    if re.search(r"\bstrict\b", text) and _has_strict(body):
        yield "tools without strict"


def _named(param: str, text: str) -> list[str]:
    """Return the parameters that a refusal names: by its own field, else in quotation marks, else in its words."""
    snake = re.sub(r"(?<=[a-z])([A-Z])", lambda match: f"_{match[1].lower()}", text)
    quoted = re.findall(r"['\"`]([a-z_]+)['\"`]", snake)
    words = re.findall(r"\b[a-z]+(?:_[a-z]+)*\b", snake)
    return list(dict.fromkeys([*([param] if param else []), *quoted, *words]))


def _renames(text: str, body: Json, named: list[str], *, refused: bool) -> Iterator[str]:
    for old, new in (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")):
        if old in body and (new in text or (refused and old in named)) and named[:1] == [old]:
            yield WITHOUT + old if new in body else f"{new} for {old}"


def _without(name: str, value: Any, text: str) -> str:
    return f"{WITHOUT}{name}={value}" if name in VALUED and isinstance(value, str) and _BAD_VALUE.search(text) else WITHOUT + name


def _roles(text: str, body: Json) -> Iterator[str]:
    roles = {message.get("role") for message in body.get("messages") or () if isinstance(message, dict)}
    if "developer" in roles and "developer" in text:
        yield "system for developer"
    if "system" in roles and re.search(r"\bsystem\b", text, re.IGNORECASE):
        yield "user for system"
    if "developer" in roles and re.search(r"\brole", text, re.IGNORECASE):
        yield "system for developer"


def _has_text_parts(body: Json) -> bool:
    return any(isinstance(message.get("content"), list) and _flat(message["content"]) is not None for message in _messages(body))


def _has_extra_fields(body: Json) -> bool:
    return any(set(message) - set(_KEPT_IN_MESSAGES) for message in _messages(body))


def _has_strict(body: Json) -> bool:
    return any("strict" in (tool.get("function") or {}) for tool in body.get("tools") or () if isinstance(tool, dict))


def _messages(body: Json) -> list[Message]:
    return [message for message in body.get("messages") or () if isinstance(message, dict)]


def apply(repair: str, body: Json) -> bool:
    """Change a body in place; return whether that changed anything. Lists and messages inside stay as they are: others share them."""
    if repair.startswith(WITHOUT):
        name, has_value, value = repair.removeprefix(WITHOUT).partition("=")
        if name not in body or (has_value and body[name] != value):
            return False
        del body[name]
        return True
    change = _CHANGES.get(repair)
    return change(body) if change else False


def _rename(old: str, new: str) -> Callable[[Json], bool]:
    def change(body: Json) -> bool:
        if old not in body:
            return False
        body.setdefault(new, body.pop(old))
        body.pop(old, None)
        return True

    return change


def _each_message(change: Callable[[Message], Message]) -> Callable[[Json], bool]:
    def change_all(body: Json) -> bool:
        messages = body.get("messages")
        if not isinstance(messages, list):
            return False
        changed = [change(message) if isinstance(message, dict) else message for message in messages]
        different = any(new is not old for new, old in zip(changed, messages, strict=True))
        body["messages"] = changed
        return different

    return change_all


def _system_for_developer(message: Message) -> Message:
    return {**message, "role": "system"} if message.get("role") == "developer" else message


def _text_for_parts(message: Message) -> Message:
    text = _flat(message["content"]) if isinstance(message.get("content"), list) else None
    return message if text is None else {**message, "content": text}


def _plain(message: Message) -> Message:
    return {name: message[name] for name in _KEPT_IN_MESSAGES if name in message} if set(message) - set(_KEPT_IN_MESSAGES) else message


def _user_for_system(body: Json) -> bool:
    """Put the instructions into the first message of the user, since some templates demand that the roles alternate."""
    messages = _messages(body)
    instructions = [_words(message) for message in messages if message.get("role") in {"system", "developer"}]
    if not instructions:
        return False
    others = [message for message in messages if message.get("role") not in {"system", "developer"}]
    first = next((place for place, message in enumerate(others) if message.get("role") == "user"), None)
    told = "\n\n".join(instructions)
    if first is None:
        body["messages"] = [{"role": "user", "content": told}, *others]
    else:
        others[first] = {**others[first], "content": _joined(told, others[first].get("content"))}
        body["messages"] = others
    return True


def _merged_roles(body: Json) -> bool:
    """Join neighboring messages of one role."""
    merged: list[Message] = []
    for message in _messages(body):
        last = merged[-1] if merged else None
        joins = last is not None and last.get("role") == message.get("role") and message.get("role") in {"user", "assistant", "system"}
        if last is not None and joins and not last.get("tool_calls") and not message.get("tool_calls"):
            merged[-1] = {**last, "content": _joined(last.get("content"), message.get("content"))}
        else:
            merged.append(message)
    different = len(merged) != len(body.get("messages") or ())
    body["messages"] = merged
    return different


def _words(message: Message) -> str:
    content = message.get("content")
    return content if isinstance(content, str) else _flat(content or []) or ""


def _joined(first: Any, second: Any) -> Any:
    if isinstance(first, str) and isinstance(second, str):
        return f"{first}\n\n{second}"
    return [*_parts(first), *_parts(second)]


def _parts(content: Any) -> list[Any]:
    if isinstance(content, list):
        return content
    return [{"type": "text", "text": content}] if content else []


def _flat(parts: list[Any]) -> str | None:
    """Return text parts as one text; None where one of them is something else."""
    texts = [part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None for part in parts]
    return None if None in texts else "\n".join(str(text) for text in texts)


def _numbers_for_base64(body: Json) -> bool:
    if body.get("encoding_format") != "base64":
        return False
    body["encoding_format"] = "float"
    return True


def _tools_without_strict(body: Json) -> bool:
    if not _has_strict(body):
        return False
    body["tools"] = [_not_strict(tool) for tool in body["tools"]]
    return True


def _not_strict(tool: Any) -> Any:
    function = tool.get("function") if isinstance(tool, dict) else None
    if not isinstance(function, dict) or "strict" not in function:
        return tool
    return {**tool, "function": {name: value for name, value in function.items() if name != "strict"}}


_CHANGES: Final[Mapping[str, Callable[[Json], bool]]] = {
    "max_completion_tokens for max_tokens": _rename("max_tokens", "max_completion_tokens"),
    "max_tokens for max_completion_tokens": _rename("max_completion_tokens", "max_tokens"),
    "system for developer": _each_message(_system_for_developer),
    "user for system": _user_for_system,
    "merged roles": _merged_roles,
    "text for parts": _each_message(_text_for_parts),
    "plain messages": _each_message(_plain),
    "numbers for base64": _numbers_for_base64,
    "tools without strict": _tools_without_strict,
}
