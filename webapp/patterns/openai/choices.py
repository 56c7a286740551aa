"""Read and repair one choice of an answer: the same code for a chunk of a stream and for a whole answer.

Repairs change the choice in place. They touch only what breaks clients: content that is not text, calls in pieces, finish reasons that the
schema does not have, halves of characters, numbers that JSON does not have.
"""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable
from typing import Any, Final

import jiter

from webapp.patterns.openai.thinking import ThinkSplitter, reasoning_of, split_parts, text_of
from webapp.patterns.openai.tool_calls import CallRepair
from webapp.patterns.types import Delta, Json, ToolCallDelta

FINISH_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "MAX_TOKENS": "length",
    "model_length": "length",
    "max_output_tokens": "length",
    "token_limit": "length",
    "safety": "content_filter",
    "SAFETY": "content_filter",
    "sensitive": "content_filter",
    "refusal": "content_filter",
}
"""Finish reasons in use, in OpenAI's words; every other one is "stop"."""
FAILURES: Final = frozenset({"error", "abort", "aborted", "failed", "failure", "ERROR", "network_error", "insufficient_system_resource"})
"""Finish reasons that mean failure."""
_PLAIN_ENDS: Final = frozenset({"stop", "length", "content_filter"})
_TEXT_FIELDS: Final = ("content", "reasoning_content", "reasoning", "refusal")
_HIGH: Final = re.compile("[\ud800-\udbff]\\Z")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")
REPLACEMENT: Final = "\ufffd"


class Failure(Exception):
    """The choice says that the answer failed; `error` is the error object."""

    def __init__(self, error: Any) -> None:
        super().__init__()
        self.error = error


class ChoiceReader:
    """The state of one choice.

    Args:
        make_id: names tool calls that came without an id.
        legacy: the request asked with `functions`: its answer's `function_call` stays one.
    """

    __slots__ = ("_calls", "_halves", "_legacy", "_make_id", "called", "spoke", "think")

    def __init__(self, make_id: Callable[[], str], *, legacy: bool = False) -> None:
        self._calls: CallRepair | None = None
        self._halves: dict[str, str] = {}
        self._legacy = legacy
        self._make_id = make_id
        self.think = ThinkSplitter()
        self.called = False
        """It has called a tool."""
        self.spoke = False
        """It has any content."""

    def read(self, choice: Json, body: Json, *, last: bool) -> tuple[Delta, bool]:
        """Take in a delta or a message; repair it in place.

        Args:
            choice: the whole choice; text completions have their text there.
            body: its delta or message.
            last: no more comes.

        Returns:
            Its meaning, without finish reason and usage, and whether a repair was needed.
        """
        changed = self._join_halves(body, last=last)
        reasoning = reasoning_of(body)
        content = body.get("content")
        if isinstance(content, list):
            thought, content = split_parts(content)
            body["content"] = content
            changed = True
            if thought and not reasoning:
                body["reasoning_content"] = reasoning = thought
        elif content is not None and not isinstance(content, str):
            body["content"] = content = text_of(content)
            changed = True
        if content is None:
            content = choice.get("text")
        thought, text, was_reasoning = self.think.feed(content) if isinstance(content, str) and content else ("", "", False)
        if last:
            held, rest, _ = self.think.close()
            thought, text = thought + held, text + rest
        calls: tuple[ToolCallDelta, ...] = ()
        if body.get("tool_calls") or body.get("function_call"):
            calls, mended = self._take_calls(body)
            changed |= mended
        self.spoke = self.spoke or bool(content or reasoning or calls or body.get("refusal"))
        return Delta(text, reasoning + thought, str(body.get("refusal") or ""), calls, was_reasoning=was_reasoning), changed

    def _take_calls(self, body: Json) -> tuple[tuple[ToolCallDelta, ...], bool]:
        self.called = True
        if self._calls is None:
            self._calls = CallRepair(self._make_id)
        if self._legacy and not body.get("tool_calls"):
            return self._calls.take(dict(body))[0], False
        return self._calls.take(body)

    def finish(self, choice: Json, reason: str) -> tuple[str, bool]:
        """Return the finish reason in OpenAI's words, true to whether there are calls; repair the choice in place.

        Raises:
            Failure: the reason means that the answer failed.
        """
        if reason in FAILURES:
            raise Failure(choice.get("error") or f"The server ended the answer with {reason!r}.")
        known = FINISH_REASONS.get(reason, "stop")
        if known in {"stop", "tool_calls"}:
            known = "tool_calls" if self.called else "stop"
        shown = "function_call" if self._legacy and known == "tool_calls" else known
        choice["finish_reason"] = shown
        return known, shown != reason

    @property
    def is_plain(self) -> bool:
        """Whether no half of a character waits for the other."""
        return not self._halves

    def _join_halves(self, body: Json, *, last: bool) -> bool:
        """Join the halves of a character that came in two chunks; U+FFFD stands for a half that is alone."""
        changed = False
        for name in _TEXT_FIELDS:
            value = body.get(name)
            if not isinstance(value, str) or not (name in self._halves or _SURROGATE.search(value)):
                continue
            value = self._halves.pop(name, "") + value
            if (half := _HIGH.search(value)) and not last:
                self._halves[name] = half[0]
                value = value[:-1]
            body[name] = whole_characters(value)
            changed = True
        for name in list(self._halves) if last else ():
            del self._halves[name]
            body[name] = (body.get(name) or "") + REPLACEMENT
            changed = True
        return changed


def whole_characters(text: str) -> str:
    """Return the text with pairs of surrogates joined, and U+FFFD for each lone one."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def decode(data: bytes) -> tuple[Any, bool]:
    """Return the JSON in `data`, and whether it has to be written anew for clients.

    Servers send bytes that are not UTF-8, half characters, control characters inside strings, NaN and Infinity.

    Raises:
        ValueError: the data is not JSON.
    """
    try:
        value, changed = jiter.from_json(data), False
    except ValueError:
        value, changed = json.loads(data.decode("utf-8", "replace").lstrip("\ufeff"), strict=False), True
    if b"NaN" in data or b"Infinity" in data:
        changed |= _without_infinities(value)
    return value, changed


def _without_infinities(value: Any) -> bool:
    """Put null in the place of numbers that JSON does not have; return whether there were any."""
    found = False
    for key, item in list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()):
        if isinstance(item, float) and not math.isfinite(item):
            value[key] = None
            found = True
        else:
            found |= _without_infinities(item)
    return found


def encode(value: Any) -> bytes:
    """Return a repaired value as JSON."""
    return whole_characters(json.dumps(value, ensure_ascii=False)).encode("utf-8", "replace")


def _is_plain(choice: Json) -> bool:
    """Return whether a choice of a whole answer is a text that surely needs no repair: without a tag, calls, or half characters.

    Most answers are. The check costs a tenth of the repair, which copies the choice to compare it.
    """
    message = choice.get("message")
    if choice.get("finish_reason") not in _PLAIN_ENDS or message.__class__ is not dict:
        return False
    if message.get("tool_calls") is not None or message.get("function_call") is not None:
        return False
    content = message.get("content")
    return content.__class__ is str and "<" not in content and not any(_is_broken(message.get(name)) for name in _TEXT_FIELDS)


def _is_broken(text: Any) -> bool:
    return text is not None and (text.__class__ is not str or (not text.isascii() and _SURROGATE.search(text) is not None))


def repair_whole(choice: Json, make_id: Callable[[], str], *, legacy: bool = False) -> bool:
    """Repair a choice of a whole answer in place; return whether that changed anything.

    Raises:
        Failure: it says that the answer failed.
    """
    if choice.get("error"):
        raise Failure(choice["error"])
    if _is_plain(choice):
        return False
    before = copy.deepcopy(choice)
    reader = ChoiceReader(make_id, legacy=legacy)
    message = choice.get("message")
    if isinstance(message, dict):
        calls = message.get("tool_calls")
        if isinstance(calls, list):  # each is whole, whatever index it came under
            message["tool_calls"] = [{**call, "index": number} for number, call in enumerate(calls) if isinstance(call, dict)]
        reader.read(choice, message, last=True)
        for call in message.get("tool_calls") or ():
            call.pop("index", None)
        if message.get("tool_calls") == []:
            del message["tool_calls"]
    if choice.get("finish_reason"):
        reader.finish(choice, str(choice["finish_reason"]))
    return choice != before
