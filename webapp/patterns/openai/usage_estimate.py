"""Estimate the tokens of a call from the sent and received text, if the server reports none or the caller disconnects.

Estimates are marked as such and cost only the sum of lengths. They are within a third of o200k_base's count for prose in European
languages, Chinese, and Japanese, and for code. An exact count would block the event loop.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from webapp.patterns.types import Delta, Response, Usage

_CHARS_A_TOKEN: Final = 4
_LONGEST_TOKENS: Final = 8
"""Average characters per token of ordinary text."""
_WIDE: Final = re.compile("[\u2e80-\U0003ffff]")
"""Characters of scripts with about one token per character."""
_ROUND_A_MESSAGE: Final = 4
"""Overhead in tokens of each message."""
_READ: Final = ("messages", "prompt", "input")
_NOT_TEXT: Final = frozenset({"role", "type", "url", "data", "file_data"})


class StreamUsageEstimator:
    """Sum up the content of a stream."""

    __slots__ = ("_chars", "_pieces")

    def __init__(self) -> None:
        self._chars = 0
        self._pieces = 0

    def add(self, delta: Delta) -> None:
        """Count the text of a delta."""
        text = delta.text or delta.reasoning or delta.refusal
        if text:
            self._pieces += 1
            self._chars += _length(text)
        for call in delta.tool_calls:
            self._pieces += 1
            self._chars += _length(call.name) + _length(call.arguments)

    @property
    def tokens(self) -> int:
        """Return one token per piece for servers that send each token as it is made (most do); otherwise by length."""
        return self._pieces if self._chars <= self._pieces * _LONGEST_TOKENS else self._chars // _CHARS_A_TOKEN


def streamed(sent: Mapping[str, Any], said: StreamUsageEstimator) -> Usage:
    """Return the usage of a stream."""
    return Usage(_prompt(sent), said.tokens, estimated=True)


def whole(sent: Mapping[str, Any], answer: Response) -> Usage:
    """Return the usage of a complete answer."""
    said = [choice.get("message") or choice.get("text") for choice in answer.body.get("choices") or () if isinstance(choice, dict)]
    return Usage(_prompt(sent), _weight(said) // _CHARS_A_TOKEN, estimated=True)


def _prompt(sent: Mapping[str, Any]) -> int:
    messages = sent.get("messages")
    around = _ROUND_A_MESSAGE * len(messages) if isinstance(messages, Sequence) else 0
    tools = len(json.dumps(sent["tools"])) if sent.get("tools") else 0
    return around + (tools + sum(_weight(sent.get(name)) for name in _READ)) // _CHARS_A_TOKEN


def _weight(value: Any) -> int:
    """Return the characters of all texts inside, without images and files; a token id counts as a token."""
    match value:
        case str():
            return _length(value)
        case list():
            return sum(map(_weight, value))
        case dict():
            return sum(_weight(item) for name, item in value.items() if name not in _NOT_TEXT)
        case int() | float():
            return _CHARS_A_TOKEN
        case _:
            return 0


def _length(text: str) -> int:
    """Return the characters, counting those that are a token each as four."""
    return len(text) if text.isascii() else len(text) + (_CHARS_A_TOKEN - 1) * len(_WIDE.findall(text))
