"""Split text into the built-in model's tokens: a word or a run of punctuation, with the white space before it."""

from __future__ import annotations

import re

from webapp.patterns.types import Message

PIECE = re.compile(r"\s*(?:\w+|[^\w\s]+)|\s+")
PER_MESSAGE = 3
PRIMING = 3


def split(text: str) -> list[str]:
    """Return the tokens of `text`. Joined, they equal the text."""
    return PIECE.findall(text)


def count(text: str) -> int:
    """Return the number of tokens in `text`."""
    return sum(1 for _ in PIECE.finditer(text))


def count_messages(messages: list[Message]) -> int:
    """Return the number of tokens in a conversation."""
    return PRIMING + sum(PER_MESSAGE + count(text_of(message)) + _count_calls(message) for message in messages)


def text_of(message: Message) -> str:
    """Return the text of a message, from a string or from content parts."""
    content = message.get("content")
    if isinstance(content, list):
        return "\n".join(str(part.get("text", "")) for part in content if part["type"] == "text")
    return content or ""


def _count_calls(message: Message) -> int:
    calls = [call for call in message.get("tool_calls") or () if "function" in call]
    return sum(count(call["function"]["name"]) + count(call["function"]["arguments"]) for call in calls)
