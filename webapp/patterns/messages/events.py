"""Write the deltas of a stream as Anthropic's server-sent events."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import jiter

from webapp.patterns.messages.answers import SIGNATURE, STOP_REASONS, new_message_id, stop_reason, usage_fields
from webapp.patterns.types import NO_USAGE, Delta, Json, StreamChunk, ToolCallDelta, Usage

PING_SECONDS: Final = 10.0
"""The longest that a client hears nothing while the model thinks unseen."""
_Kind = Literal["text", "thinking", "tool_use"]
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def event(name: str, **fields: Any) -> bytes:
    """Return one server-sent event; its data repeats the name as `type`."""
    data = _encode({"type": name, **fields}).encode("utf-8", "replace")
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data)


PING: Final = event("ping")


def message_events(message: Json) -> bytes:
    """Return a whole message as the events of a stream."""
    blocks = [_block_events(index, block) for index, block in enumerate(message["content"])]
    start = event("message_start", message={**message, "content": [], "stop_reason": None, "stop_sequence": None})
    ended = {"stop_reason": message.get("stop_reason") or "end_turn", "stop_sequence": message.get("stop_sequence")}
    delta = event("message_delta", delta=ended, usage=message.get("usage") or usage_fields(NO_USAGE))
    return b"".join([start, *blocks, delta, event("message_stop")])


def _block_events(index: int, block: Json) -> bytes:
    """Return a whole block as events: a call's input comes as a delta, any other block whole with its start."""
    if block.get("type") != "tool_use":
        return event("content_block_start", index=index, content_block=block) + event("content_block_stop", index=index)
    delta = {"type": "input_json_delta", "partial_json": _encode(block.get("input") or {})}
    return b"".join(
        [
            event("content_block_start", index=index, content_block={**block, "input": {}}),
            event("content_block_delta", index=index, delta=delta),
            event("content_block_stop", index=index),
        ]
    )


class EventEncoder:
    """The events of one message, in Anthropic's order: `message_start`, blocks one after the other, `message_delta`, `message_stop`.

    Chunks of a server that speaks the protocol itself pass as they came, until another step takes over.

    Args:
        model: the name that the caller asked for.
        thinking: whether the caller asked to see the reasoning. Where not, a ping stands in for it.
        stops: the caller's stop sequences.
        clock: seconds, for the pings.
    """

    def __init__(
        self, *, model: str, thinking: bool = False, stops: Sequence[str] = (), clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._model = model
        self._thinking = thinking
        self._stops = stops
        self._clock = clock
        self._pinged = clock()
        self._started = False
        self._native = False
        self._blocks = 0
        self._open: _Kind | None = None
        self._calls: dict[int, int] = {}
        self._unnamed: dict[int, ToolCallDelta] = {}
        self._finish = ""
        self._choice: Json = {}
        self._refused = False
        self._usage: Usage | None = None

    def feed(self, chunk: StreamChunk) -> bytes:
        """Return the events that a chunk stands for; empty where it adds nothing."""
        if chunk.switch:
            return self._switched(chunk.switch)
        if chunk.protocol == "messages" and (self._native or not self._started):
            self._started = self._native = True
            self._follow(chunk.raw)
            return chunk.raw
        out = [] if self._started else [self._start()]
        for delta in chunk.deltas:
            self._delta(delta, out)
        if self._stops and self._finish and b'"stop_reason"' in chunk.raw:
            self._choice = _finishing_choice(chunk.raw)
        return b"".join(out)

    def close(self, usage: Usage = NO_USAGE) -> bytes:
        """Return the events that end the message. `usage` stands in where the server counted nothing."""
        if self._native:
            return b""
        out = [] if self._started else [self._start()]
        for index in list(self._unnamed):
            self._begin_call(self._unnamed.pop(index), out)
        self._stop_block(out)
        reason, stop = stop_reason(self._finish, self._choice, self._stops)
        if self._refused and reason == "end_turn":
            reason = STOP_REASONS["content_filter"]
        counted = usage_fields(self._usage or usage)
        out.append(event("message_delta", delta={"stop_reason": reason, "stop_sequence": stop}, usage=counted))
        out.append(event("message_stop"))
        return b"".join(out)

    # --- the parts

    def _start(self) -> bytes:
        self._started = True
        message: Json = {
            "id": new_message_id(),
            "type": "message",
            "role": "assistant",
            "model": self._model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage_fields(NO_USAGE),
        }
        return event("message_start", message=message) + PING

    def _switched(self, switch: str) -> bytes:
        """Go on with the events of another step: the open block ends here. The protocol has no event for it, so a comment tells."""
        out: list[bytes] = []
        self._stop_block(out)
        self._native = False
        self._calls.clear()
        self._unnamed.clear()
        self._finish, self._usage = "", None
        return b"".join(out) + b": another backend goes on (%b)\n\n" % switch.encode()

    def _delta(self, delta: Delta, out: list[bytes]) -> None:
        if delta.usage is not None:
            self._usage = delta.usage
        if delta.choice:
            return
        if delta.reasoning:
            self._reasoning(delta.reasoning, out)
        if delta.text:
            self._piece("text", "text_delta", delta.text, out)
        if delta.refusal:
            self._refused = True
            self._piece("text", "text_delta", delta.refusal, out)
        for call in delta.tool_calls:
            self._call(call, out)
        if delta.finish_reason:
            self._finish = delta.finish_reason

    def _reasoning(self, text: str, out: list[bytes]) -> None:
        if self._thinking:
            self._piece("thinking", "thinking_delta", text, out)
        elif self._clock() - self._pinged >= PING_SECONDS:
            self._pinged = self._clock()
            out.append(PING)

    def _piece(self, kind: Literal["text", "thinking"], delta_kind: str, text: str, out: list[bytes]) -> None:
        if self._open != kind:
            empty = {"type": kind, kind: ""}
            self._begin(kind, empty if kind == "text" else {**empty, "signature": ""}, out)
        out.append(event("content_block_delta", index=self._blocks - 1, delta={"type": delta_kind, kind: text}))

    def _call(self, call: ToolCallDelta, out: list[bytes]) -> None:
        """Add a fragment of a tool call. A block begins once the tool's name is known."""
        if call.index in self._calls:
            self._arguments(self._calls[call.index], call.arguments, out)
            return
        waiting = self._unnamed.pop(call.index, None)
        if waiting is not None:
            call = ToolCallDelta(call.index, waiting.id or call.id, waiting.name + call.name, waiting.arguments + call.arguments)
        if call.name:
            self._begin_call(call, out)
        else:
            self._unnamed[call.index] = call

    def _begin_call(self, call: ToolCallDelta, out: list[bytes]) -> None:
        self._begin("tool_use", {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}, out)
        self._calls[call.index] = self._blocks - 1
        self._arguments(self._blocks - 1, call.arguments, out)

    def _arguments(self, block: int, text: str, out: list[bytes]) -> None:
        if text:
            out.append(event("content_block_delta", index=block, delta={"type": "input_json_delta", "partial_json": text}))

    def _begin(self, kind: _Kind, block: Json, out: list[bytes]) -> None:
        self._stop_block(out)
        out.append(event("content_block_start", index=self._blocks, content_block=block))
        self._open = kind
        self._blocks += 1

    def _stop_block(self, out: list[bytes]) -> None:
        if self._open is None:
            return
        index = self._blocks - 1
        if self._open == "thinking" and not self._native:
            out.append(event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": SIGNATURE}))
        out.append(event("content_block_stop", index=index))
        self._open = None

    def _follow(self, raw: bytes) -> None:
        """Note which block of a native stream is open, so that another step can go on after it."""
        if b"content_block_st" not in raw:
            return
        for line in raw.split(b"\n"):
            if not line.startswith(b"data:"):
                continue
            data = jiter.from_json(line[5:])
            if data.get("type") == "content_block_start":
                self._open, self._blocks = data["content_block"].get("type", "text"), data["index"] + 1
            elif data.get("type") == "content_block_stop":
                self._open = None


def _finishing_choice(raw: bytes) -> Json:
    """Return the choice of a chat chunk that carries the server's `stop_reason`; empty where none does."""
    for line in raw.split(b"\n"):
        if line.startswith(b"data:") and b'"stop_reason"' in line:
            for choice in jiter.from_json(line[5:]).get("choices") or ():
                if choice.get("stop_reason"):
                    return dict(choice)
    return {}
