"""Format answers as OpenAI does: complete objects, and streams of server-sent events."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

from webapp.builtin import model, text_parts
from webapp.builtin.catalog import CHAT_MODEL
from webapp.builtin.protocol import Ask, Options
from webapp.patterns.types import Json

DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class _Call:
    """A tool call. Its arguments are JSON text, possibly truncated."""

    id: str
    name: str
    arguments: str

    def whole(self) -> Json:
        return {"id": self.id, "type": "function", "function": {"name": self.name, "arguments": self.arguments}}


@dataclass(frozen=True, slots=True)
class _Choice:
    """One choice, already truncated at the limit and at stop sequences."""

    text: str
    calls: tuple[_Call, ...]
    finish_reason: str
    tokens: int


def chat(ask: Ask, pace: float) -> Json | AsyncIterator[bytes]:
    """Return the chat completion, or the events of its stream."""
    reply = model.respond(ask)
    choices = [_calling(reply.calls, ask.options) if reply.calls else _saying(reply.text, ask.options) for _ in range(ask.options.choices)]
    usage = _usage(ask.prompt_tokens, choices)
    head = _head("chatcmpl", "chat.completion")
    if ask.options.stream:
        head["object"] = "chat.completion.chunk"
        return _events(
            head, (chunk for index, choice in enumerate(choices) for chunk in _chat_chunks(index, choice)), usage, ask.options, pace
        )
    return {**head, "choices": [_chat_choice(index, choice) for index, choice in enumerate(choices)], "usage": usage}


def completion(prompts: list[str], options: Options, pace: float) -> Json | AsyncIterator[bytes]:
    """Return the completion of each prompt, or the events of its stream."""
    choices = [_saying(model.complete(prompt), options) for prompt in prompts for _ in range(options.choices)]
    usage = _usage(sum(map(text_parts.count, prompts)), choices)
    head = _head("cmpl", "text_completion")
    if options.stream:
        return _events(head, (chunk for index, choice in enumerate(choices) for chunk in _text_chunks(index, choice)), usage, options, pace)
    return {
        **head,
        "choices": [_text_choice(index, choice.text, choice.finish_reason) for index, choice in enumerate(choices)],
        "usage": usage,
    }


def _saying(text: str, options: Options) -> _Choice:
    at = min((position for position in map(text.find, options.stops) if position >= 0), default=len(text))
    said = text_parts.split(text[:at])
    cut = options.max_tokens is not None and len(said) > options.max_tokens
    said = said[: options.max_tokens] if cut else said
    return _Choice("".join(said), (), "length" if cut else "stop", len(said))


def _calling(calls: tuple[model.Call, ...], options: Options) -> _Choice:
    left = options.max_tokens if options.max_tokens is not None else 2**31
    made: list[_Call] = []
    spent, cut = 0, False
    for call in calls:
        written = text_parts.split(json.dumps(call.arguments, ensure_ascii=False))
        cut = spent + len(written) > left
        kept = written[: left - spent] if cut else written
        spent += len(kept)
        made.append(_Call(f"call_{uuid.uuid4().hex[:24]}", call.name, "".join(kept)))
        if cut:
            break
    return _Choice("", tuple(made), "length" if cut else "tool_calls", spent)


def _chat_choice(index: int, choice: _Choice) -> Json:
    message: Json = {"role": "assistant", "content": None if choice.calls else choice.text, "refusal": None}
    if choice.calls:
        message["tool_calls"] = [call.whole() for call in choice.calls]
    return {"index": index, "message": message, "logprobs": None, "finish_reason": choice.finish_reason}


def _chat_chunks(index: int, choice: _Choice) -> Iterator[Json]:
    yield _delta(index, {"role": "assistant", "content": None if choice.calls else "", "refusal": None})
    for piece in text_parts.split(choice.text):
        yield _delta(index, {"content": piece})
    for position, call in enumerate(choice.calls):
        begun = {"index": position, "id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield _delta(index, {"tool_calls": [begun]})
        for piece in text_parts.split(call.arguments):
            yield _delta(index, {"tool_calls": [{"index": position, "function": {"arguments": piece}}]})
    yield _delta(index, {}, choice.finish_reason)


def _delta(index: int, delta: Json, finish_reason: str | None = None) -> Json:
    return {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}


def _text_chunks(index: int, choice: _Choice) -> Iterator[Json]:
    for piece in text_parts.split(choice.text):
        yield _text_choice(index, piece, None)
    yield _text_choice(index, "", choice.finish_reason)


def _text_choice(index: int, text: str, finish_reason: str | None) -> Json:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish_reason}


async def _events(head: Json, chunks: Iterator[Json], usage: Json, options: Options, pace: float) -> AsyncIterator[bytes]:
    extra: Json = {"usage": None} if options.include_usage else {}
    for chunk in chunks:
        yield _event({**head, "choices": [chunk], **extra})
        await asyncio.sleep(pace)
    if options.include_usage:
        yield _event({**head, "choices": [], "usage": usage})
    yield DONE


def _event(body: Any) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


def _head(prefix: str, kind: str) -> Json:
    return {
        "id": f"{prefix}-{uuid.uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": CHAT_MODEL,
        "system_fingerprint": "patchbay-builtin-1",
    }


def _usage(prompt_tokens: int, choices: list[_Choice]) -> Json:
    written = sum(choice.tokens for choice in choices)
    return {"prompt_tokens": prompt_tokens, "completion_tokens": written, "total_tokens": prompt_tokens + written}
