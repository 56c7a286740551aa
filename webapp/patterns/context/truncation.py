"""Truncate required messages that are too long: the longest texts lose their middle, with a marker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from webapp.patterns.errors import InputError
from webapp.patterns.tokens.counting import Counter, MessageCounter
from webapp.patterns.types import Message
from webapp.patterns.units import count

MARKER = "\n[… {} tokens left out …]\n"
MEDIA_MARKER = "left out: it does not fit into the context window]"
_MARKER_TOKENS = 16
_LEAST = 24
"""Texts below this number of tokens are not truncated."""
_ENOUGH = 256
"""Tokens that each text should keep. Images, and then instructions, are cut before less remains."""


def cut_text(text: str, limit: int, counter: Counter) -> str:
    """Return `text` in at most `limit` tokens: two thirds from its beginning, one from its end, and a marker between them."""
    tokens = counter.encode(text)
    keep = limit - _MARKER_TOKENS
    while len(tokens) > limit and keep > 0:
        head = keep * 2 // 3
        tail = keep - head
        short = counter.decode(tokens[:head]) + MARKER.format(len(tokens) - keep) + counter.decode(tokens[len(tokens) - tail :])
        over = len(counter.encode(short)) - limit
        if over <= 0:
            return short
        keep -= over
    return text if len(tokens) <= limit else counter.decode(tokens[: max(0, limit)])


def cut_down(messages: Mapping[int, Message], allowed: int, counting: MessageCounter) -> tuple[dict[int, Message], list[int]]:
    """Return the messages truncated to at most `allowed` tokens, and the keys of the truncated ones.

    Texts other than instructions are cut first, then images and files, then instructions. The longest texts lose most.

    Raises:
        InputError: they do not fit even then.
    """
    for least, prepare, instructions in ((_ENOUGH, _as_is, False), (_ENOUGH, _without_media, False), (_LEAST, _without_media, True)):
        prepared = {key: prepare(message) for key, message in messages.items()}
        lengths = [
            counting.text(text) for message in prepared.values() if _may_cut(message, instructions=instructions) for text in _texts(message)
        ]
        total = sum(counting.messages(prepared.values()))
        level = _level(lengths, allowed - total + sum(lengths))
        if level >= least:
            cut = {
                key: _cut_message(message, level, counting.counter) if _may_cut(message, instructions=instructions) else message
                for key, message in prepared.items()
            }
            return cut, [key for key, message in cut.items() if message != messages[key]]
    raise InputError(
        f"Too long for this model's context window: {count(max(0, allowed), 'token')} are left for the conversation. Turn off tools, lower "
        "the max tokens of the answer, or choose a model with a larger window.",
        param="messages",
        code="context_length_exceeded",
    )


def _level(lengths: Sequence[int], room: int) -> int:
    """Return the length to which texts must be cut so that they take at most `room` together. Shorter ones stay complete.

    Returns a length that no text exceeds if all fit; -1 without any room.
    """
    for done, length in enumerate(sorted(lengths)):
        share = room // (len(lengths) - done)
        if length > share:
            return share
        room -= length
    return max([_ENOUGH, *lengths]) if room >= 0 else -1


def _may_cut(message: Message, *, instructions: bool) -> bool:
    return instructions or message["role"] not in {"system", "developer"}


def _texts(message: Message) -> list[str]:
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or () if isinstance(part.get("text"), str)]


def _as_is(message: Message) -> Message:
    return message


def _without_media(message: Message) -> Message:
    content = message.get("content")
    if not isinstance(content, list) or all("text" in part for part in content):
        return message
    return {**message, "content": [part if "text" in part else _placeholder(part) for part in content]}


def _placeholder(part: Message) -> Message:
    return {"type": "text", "text": f"[{str(part.get('type', 'part')).removesuffix('_url')} {MEDIA_MARKER}"}


def _cut_message(message: Message, limit: int, counter: Counter) -> Message:
    content = message.get("content")
    if isinstance(content, str):
        return {**message, "content": cut_text(content, limit, counter)}
    if not content:
        return message
    parts = [{**part, "text": cut_text(part["text"], limit, counter)} if isinstance(part.get("text"), str) else part for part in content]
    return {**message, "content": parts}
