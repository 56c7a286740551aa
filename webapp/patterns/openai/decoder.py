"""The stream decoder: bytes of a server-sent stream in, packets out, at a few microseconds a chunk.

It is tolerant where real servers differ (`tests/patterns/openai/test_decoder.py` has all that it takes), and it repairs what would break
a client behind the gateway: an event whose tool calls or finish reason had to be repaired is written anew in `Packet.raw`; all others stay
as they came, with `\\n` for line ends.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Final

import jiter

from webapp.patterns.openai.tool_calls import CallRepair, new_call_id
from webapp.patterns.types import Delta, Json, StreamChunk, ToolCallDelta, Usage

MAX_EVENT: Final = 1_048_576
"""Bytes of one event, line ends included; a longer one is an error."""
DONE: Final = b"[DONE]"

_FINISH: Final = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "content_filter": "content_filter",
    "function_call": "tool_calls",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_length": "length",
}
_ABORTED: Final = frozenset({"error", "abort"})
"""Finish reasons that mean failure."""


class StreamDecoder:
    """Decodes one stream. Feed it bytes as they come; the same bytes give the same deltas however they are split.

    Args:
        hide_usage: leave chunks that hold nothing but usage out of `raw`: the caller did not ask for them.
        make_id: names tool calls that came without an id.

    Attributes:
        done: `[DONE]` was seen; what comes later is ignored.
        finished: each choice that began has a finish reason.
        error: the error object that the server sent in the stream, or one that says why it cannot be read; nothing is decoded after it.
    """

    def __init__(self, *, hide_usage: bool = False, max_event: int = MAX_EVENT, make_id: Callable[[], str] = new_call_id) -> None:
        self.done = False
        self.error: Json | None = None
        self._hide_usage = hide_usage
        self._max_event = max_event
        self._make_id = make_id
        self._pending = bytearray()
        self._open: dict[int, bool] = {}
        self._repairs: dict[int, CallRepair] = {}
        self._deltas: list[Delta] = []
        self._started = False

    @property
    def finished(self) -> bool:
        return bool(self._open) and not any(self._open.values())

    def feed(self, data: bytes) -> StreamChunk | None:
        """What these bytes complete; None while an event is still open."""
        if self.done or self.error is not None:
            return None
        if self._started and not self._pending and self._is_single(data):
            raw = self._object(data[6:], data)
            return self._packet(data if raw is data else raw and raw + b"\n\n")
        head = self._whole_events(data)
        packet = self._decode(head) if head else None
        if len(self._pending) > self._max_event + 3:  # the line ends after it may have begun to come
            self._too_long()
        return packet

    def close(self) -> StreamChunk | None:
        """The last event, where the server forgot the empty line after it. Call once, when the stream has ended."""
        rest = bytes(self._pending)
        self._pending.clear()
        if self.done or self.error is not None or not rest.strip():
            return None
        return self._decode(rest + b"\n\n")

    def _is_single(self, data: bytes) -> bool:
        """Whether this is one event of one line, which is what most reads bring."""
        size = len(data)
        return data.startswith(b"data: {") and data.find(b"\n") == size - 2 and data.endswith(b"\n\n") and size - 2 <= self._max_event

    def _packet(self, raw: bytes) -> StreamChunk | None:
        deltas, self._deltas = tuple(self._deltas), []
        return StreamChunk(raw, deltas) if raw or deltas else None

    def _whole_events(self, data: bytes) -> bytes:
        """The bytes up to the last empty line, with plain line ends; the rest is kept."""
        pending = self._pending
        if not pending and data.endswith(b"\n\n"):
            return data.replace(b"\r\n", b"\n") if b"\r" in data else data
        seen = max(0, len(pending) - 3)
        pending += data
        end = max(pending.rfind(b"\n\n", seen) + 2, pending.rfind(b"\n\r\n", seen) + 3)
        if end < 3:  # neither was found
            return b""
        head = bytes(pending[:end])
        del pending[:end]
        return head.replace(b"\r\n", b"\n")

    def _decode(self, head: bytes) -> StreamChunk | None:
        if not self._started:
            self._started = True
            head = head.removeprefix(b"\xef\xbb\xbf")
        kept: list[bytes] = []
        changed = head.startswith(b"\n") or b"\n\n\n" in head
        if changed:
            head = _tidied(head)
        for event in head.split(b"\n\n"):
            raw = self._event(event)
            kept.append(raw)
            changed |= raw is not event
            if self.done or self.error is not None:
                changed = True
                break
        if changed:
            head = b"".join(raw + b"\n\n" for raw in kept if raw)
        return self._packet(head)

    def _event(self, event: bytes) -> bytes:
        """Decode one event; its bytes as they shall be relayed (the very same object where nothing changed), empty for none."""
        if len(event) > self._max_event:
            self._too_long()
            return b""
        if event.startswith(b"data: {") and event.find(b"\n") < 0:
            data = event[6:]
        else:
            name, data = _fields(event)
            if name == b"error":
                self._fail_with(data)
                return b""
            if not data.strip():
                return event
            if data.strip() == DONE:
                self.done = True
                return event
        return self._object(data, event)

    def _object(self, data: bytes, event: bytes) -> bytes:
        """Decode the data of an event; the event, or what is to be relayed in its place."""
        try:
            chunk = jiter.from_json(data)
        except ValueError:
            return self._unreadable(data)
        if type(chunk) is not dict:
            self._fail("The stream holds JSON that is no object.")
            return b""
        return self._chunk(chunk, event)

    def _unreadable(self, data: bytes) -> bytes:
        """Several whole objects in one event (a server that forgets empty lines), or broken JSON."""
        lines = data.split(b"\n")
        if len(lines) < 2 or not all(_is_json(line) for line in lines):
            self._fail("The stream holds broken JSON.")
            return b""
        kept = (self._event(b"data: " + line) for line in lines if not self.done and self.error is None)
        return b"\n\n".join(filter(None, kept))

    def _chunk(self, chunk: Json, event: bytes) -> bytes:
        choices = chunk.get("choices")
        if choices.__class__ is not list:
            choices = None
        if chunk.get("error") or (choices is None and is_error(chunk, has_choices=False)):
            self.error = chunk
            return b""
        usage = read_usage(chunk) if chunk.get("usage") or "x_groq" in chunk else None
        repaired = False
        for number, choice in enumerate(choices or ()):
            if type(choice) is dict:
                repaired |= self._choice(choice, usage if number == 0 else None)
        if not choices and usage:
            self._deltas.append(Delta(usage=usage))
            if self._hide_usage:
                return b""
        return b"data: " + json.dumps(chunk, ensure_ascii=False).encode("utf-8", "replace") if repaired else event

    def _choice(self, choice: Json, usage: Usage | None) -> bool:
        """Take in one choice; whether it had to be repaired in place."""
        index = choice.get("index")
        if index.__class__ is not int:
            index = 0
        if index not in self._open:
            self._open[index] = True
        body = choice.get("delta") or choice.get("message")
        if body.__class__ is not dict:
            body = {}
        text = body.get("content")
        if text and len(body) == 1 and text.__class__ is str and not choice.get("finish_reason"):
            self._deltas.append(Delta(text, "", "", (), "", usage, index))  # nothing but text, as most chunks are
            return False
        if text.__class__ is not str:
            text = _text(choice.get("text") if text is None else text)
        reasoning = body.get("reasoning_content") or body.get("reasoning") or ""
        if reasoning.__class__ is not str:
            reasoning = _text(reasoning)
        refusal = body.get("refusal") or ""
        calls: tuple[ToolCallDelta, ...] = ()
        repaired = False
        if body.get("tool_calls") or body.get("function_call"):
            calls, repaired = self._repair(index).take(body)
        finish = choice.get("finish_reason")
        if finish:
            finish, mended = self._finish(index, str(finish))
            repaired |= mended
            choice["finish_reason"] = finish
        if text or reasoning or refusal or calls or finish or usage:
            self._deltas.append(Delta(text, reasoning, str(refusal), calls, finish or "", usage, index))
        return repaired

    def _repair(self, index: int) -> CallRepair:
        if index not in self._repairs:
            self._repairs[index] = CallRepair(self._make_id)
        return self._repairs[index]

    def _finish(self, index: int, reason: str) -> tuple[str, bool]:
        """The finish reason in OpenAI's words, true to whether there are calls; and whether that changed it."""
        if reason in _ABORTED:
            self._fail(f"The server ended the answer with {reason!r}.")
            return reason, False
        self._open[index] = False
        known = _FINISH.get(reason, "stop")
        if known in {"stop", "tool_calls"}:
            known = "tool_calls" if index in self._repairs else "stop"
        return known, known != reason

    def _fail_with(self, data: bytes) -> None:
        try:
            body = jiter.from_json(data)
        except ValueError:
            body = data.decode("utf-8", "replace")
        self.error = body if isinstance(body, dict) and "error" in body else {"error": body or "The server reported an error."}

    def _too_long(self) -> None:
        self._fail(f"One event of the stream is longer than {self._max_event} bytes.")

    def _fail(self, message: str) -> None:
        self.error = self.error or {"error": {"message": message, "type": "unreadable_stream"}}


def is_error(body: Json, *, has_choices: bool) -> bool:
    """Whether an object that came with status 200 reports an error, in any of the shapes in use."""
    if body.get("error"):
        return True
    if has_choices or body.get("usage"):
        return False
    return body.get("object") == "error" or body.get("type") == "error" or "detail" in body


def read_usage(body: Json) -> Usage | None:
    """The token counts in a chunk or answer; None where it holds none."""
    usage = body.get("usage")
    if usage.__class__ is not dict:
        extra = body.get("x_groq")
        usage = extra.get("usage") if extra.__class__ is dict else None
        if usage.__class__ is not dict:
            return None
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    return Usage(
        _count(usage.get("prompt_tokens")),
        _count(usage.get("completion_tokens")),
        _count(prompt.get("cached_tokens")) if isinstance(prompt, dict) else 0,
        _count(completion.get("reasoning_tokens")) if isinstance(completion, dict) else 0,
    )


def _count(value: Any) -> int:
    return int(value) if isinstance(value, int | float) and value is not True and 0 < value < 1e15 else 0


def _text(value: Any) -> str:
    """Content that came as a list of parts, or not as text at all."""
    if isinstance(value, list):
        return "".join(_text(part) for part in value)
    if isinstance(value, dict):
        return _text(value.get("text"))
    return value if isinstance(value, str) else ""


def _is_json(line: bytes) -> bool:
    try:
        return line == DONE or isinstance(jiter.from_json(line), dict)
    except ValueError:
        return False


def _tidied(head: bytes) -> bytes:
    """Whole events with one empty line after each, however many there were."""
    return b"".join(event.strip(b"\n") + b"\n\n" for event in head.split(b"\n\n") if event.strip(b"\n"))


def _fields(event: bytes) -> tuple[bytes, bytes]:
    """The name and the data of an event: comments, ids and retry times left out, several data lines joined."""
    name, data = b"", []
    for line in event.split(b"\n"):
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value.strip()
        elif field == b"error":
            return b"error", value
    return name, b"\n".join(data)
