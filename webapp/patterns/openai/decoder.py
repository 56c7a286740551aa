"""Decode streams: bytes of server-sent events in, chunks out, at a few microseconds per chunk (docs/adr/0004).

The decoder tolerates the differences of real servers (`tests/patterns/openai/test_decoder.py` lists them) and repairs what would break a
client behind the gateway. An event whose tool calls or finish reason were repaired is rewritten in `StreamChunk.raw`. All others stay
unchanged, with plain line feeds as line ends.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import jiter

from webapp.patterns.openai.choices import ChoiceReader, Failure, decode, encode
from webapp.patterns.openai.tool_calls import new_call_id
from webapp.patterns.types import Delta, Json, StreamChunk, Usage

MAX_EVENT: Final = 1_048_576
"""Maximum bytes of one event, line ends included. A longer one is an error."""
DONE: Final = b"[DONE]"

_PLAIN_CHUNK: Final = frozenset({
    "id", "object", "created", "model", "choices", "usage", "system_fingerprint", "service_tier", "x_groq", "obfuscation", "provider",
})  # fmt: skip
"""Fields of a chunk that holds only usage. Others (citations, timings) are passed on."""


class StreamDecoder:
    """Decode one stream. Feed it bytes as they arrive; the same bytes give the same deltas however they are split.

    Args:
        hide_usage: omit chunks with only usage from `raw`, because the caller did not request them.
        make_id: names tool calls without an id.
        legacy: the request used `functions`.

    Attributes:
        done: `[DONE]` was seen; later data is ignored.
        finished: each choice that began has a finish reason.
        error: the server's error object in the stream, or one that says why it cannot be read. Nothing is decoded after it.
    """

    def __init__(
        self, *, hide_usage: bool = False, max_event: int = MAX_EVENT, make_id: Callable[[], str] = new_call_id, legacy: bool = False
    ) -> None:
        self.done = False
        self.error: Json | None = None
        self._hide_usage = hide_usage
        self._max_event = max_event
        self._make_id = make_id
        self._pending = bytearray()
        self._open: dict[int, bool] = {}
        self._legacy = legacy
        self._choices: dict[int, ChoiceReader] = {}
        self._last_chunk: Json = {}
        self._deltas: list[Delta] = []
        self._started = False

    @property
    def finished(self) -> bool:
        """Return whether every choice has a finish reason."""
        return bool(self._open) and not any(self._open.values())

    def feed(self, data: bytes) -> StreamChunk | None:
        """Return the chunk that these bytes complete; None while an event is incomplete."""
        if self.done or self.error is not None:
            return None
        if self._started and not self._pending and self._is_single(data):
            raw = self._object(data[6:], data)
            return self._packet(data if raw is data else raw and raw + b"\n\n")
        head = self._whole_events(data)
        packet = self._decode(head) if head else None
        if len(self._pending) > self._max_event + 3:  # its line ends may have partly arrived
            self._too_long()
        return packet

    def close(self) -> StreamChunk | None:
        """Return the last event if the server omitted its final empty line. Call once, at the end of the stream."""
        rest = bytes(self._pending)
        self._pending.clear()
        if self.done or self.error is not None or not rest.strip():
            return None
        return self._decode(rest + b"\n\n")

    def _is_single(self, data: bytes) -> bool:
        """Return whether this is one event of one line, the usual content of a read."""
        size = len(data)
        return data.startswith(b"data: {") and data.find(b"\n") == size - 2 and data.endswith(b"\n\n") and size - 2 <= self._max_event

    def _packet(self, raw: bytes) -> StreamChunk | None:
        deltas, self._deltas = tuple(self._deltas), []
        return StreamChunk(raw, deltas) if raw or deltas else None

    def _whole_events(self, data: bytes) -> bytes:
        """Return the bytes up to the last empty line, with plain line ends, and keep the rest."""
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
        """Decode one event; return its bytes for the relay (the same object if nothing changed), empty for none."""
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
                return b"\n\n".join([*self._missing_ends(), event])
        return self._object(data, event)

    def _object(self, data: bytes, event: bytes) -> bytes:
        """Decode the data of an event; return the event, or its replacement for the relay."""
        odd = False
        try:
            chunk = jiter.from_json(data)
            if b"NaN" in data or b"Infinity" in data:
                chunk, odd = decode(data)
        except ValueError:
            try:
                chunk, odd = decode(data)
            except (ValueError, RecursionError):
                return self._unreadable(data)
        if type(chunk) is not dict:
            self._fail("The stream holds JSON that is not an object.")
            return b""
        return self._chunk(chunk, event, odd=odd)

    def _unreadable(self, data: bytes) -> bytes:
        """Read several whole objects in one event (a server that omits empty lines), or report broken JSON."""
        lines = data.split(b"\n")
        if len(lines) < 2 or not all(_is_json(line) for line in lines):
            self._fail("The stream holds broken JSON.")
            return b""
        kept = (self._event(b"data: " + line) for line in lines if not self.done and self.error is None)
        return b"\n\n".join(filter(None, kept))

    def _chunk(self, chunk: Json, event: bytes, *, odd: bool) -> bytes:
        """Read a chunk. `odd` means that its JSON must be rewritten."""
        choices = chunk.get("choices")
        if choices.__class__ is not list:
            choices = None
        if chunk.get("error") or (choices is None and is_error(chunk, has_choices=False)):
            self.error = chunk
            return b""
        usage = read_usage(chunk) if chunk.get("usage") or "x_groq" in chunk else None
        try:
            for number, choice in enumerate(choices or ()):
                if type(choice) is dict:
                    odd |= self._choice(choice, usage if number == 0 else None, odd=odd)
        except Failure as failure:
            self._fail_for(failure.error)
            return b""
        if choices:
            self._last_chunk = chunk
        elif usage:
            self._deltas.append(Delta(usage=usage))
            if self._hide_usage:
                return self._without_usage(chunk)
        if choices is None:
            chunk["choices"] = []
            odd = True
        return b"data: " + encode(chunk) if odd else event

    def _without_usage(self, chunk: Json) -> bytes:
        """Return a usage chunk's other content for a caller who did not request usage; clients expect a choice in each chunk."""
        if chunk.keys() <= _PLAIN_CHUNK:
            return b""
        rest = {name: value for name, value in chunk.items() if name != "usage"}
        return b"data: " + encode({**rest, "choices": [{"index": 0, "delta": {}, "finish_reason": None}]})

    def _choice(self, choice: Json, usage: Usage | None, *, odd: bool) -> bool:
        """Read one choice; return whether it was repaired in place."""
        index = choice.get("index")
        if index.__class__ is not int:
            index = 0
        reader = self._choices.get(index)
        if reader is None:
            reader = self._choices[index] = ChoiceReader(self._make_id, legacy=self._legacy)
            self._open[index] = True
        body = choice.get("delta")
        repaired = False
        if body.__class__ is not dict:
            body, repaired = _delta(choice)
        text = body.get("content")
        finish = choice.get("finish_reason")
        if text and len(body) == 1 and text.__class__ is str and not finish and not odd and reader.is_plain:
            reader.spoke = True  # nothing but text, as most chunks are
            think = reader.think
            if think.is_text and "<" not in text:
                think.note(text)
                self._deltas.append(Delta(text, "", "", (), "", usage, index))
                return repaired
            reasoning, text, was_reasoning = think.feed(text)
            if text or reasoning or usage or was_reasoning:
                self._deltas.append(Delta(text, reasoning, "", (), "", usage, index, was_reasoning))
            return repaired
        if choice.get("error"):
            raise Failure(choice["error"])
        delta, mended = reader.read(choice, body, last=bool(finish))
        reason = ""
        if finish:
            reason, changed = reader.finish(choice, str(finish))
            mended |= changed
            self._open[index] = False
        elif finish is not None:
            choice["finish_reason"] = None
            mended = True
        if delta.has_content or reason or usage or delta.was_reasoning:
            self._deltas.append(replace(delta, finish_reason=reason, usage=usage, choice=index))
        return repaired or mended

    def _missing_ends(self) -> list[bytes]:
        """Return a last chunk for each choice that has content and no finish reason: some servers send `[DONE]` alone."""
        ends = []
        for index in [index for index, is_open in self._open.items() if is_open and self._choices[index].spoke]:
            delta, _ = self._choices[index].read({}, {}, last=True)
            reason = "tool_calls" if self._choices[index].called else "stop"
            shown = "function_call" if self._legacy and reason == "tool_calls" else reason
            body: Json = {"text": ""} if self._last_chunk.get("object") == "text_completion" else {"delta": {}}
            chunk = {name: value for name, value in self._last_chunk.items() if name not in {"choices", "usage"}}
            ends.append(b"data: " + encode({**chunk, "choices": [{"index": index, **body, "finish_reason": shown}]}))
            self._deltas.append(replace(delta, finish_reason=reason, choice=index))
            self._open[index] = False
        return ends

    def _fail_for(self, error: Any) -> None:
        """End with the error object of a choice, or with a message."""
        if isinstance(error, dict):
            self.error = self.error or {"error": error}
        else:
            self._fail(str(error))

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
    """Return whether an object with status 200 reports an error, in any of the known shapes."""
    if body.get("error"):
        return True
    if has_choices or body.get("usage"):
        return False
    return body.get("object") == "error" or body.get("type") == "error" or "detail" in body


def read_usage(body: Json) -> Usage | None:
    """Return the token counts in a chunk or answer; None without any."""
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


def _delta(choice: Json) -> tuple[Json, bool]:
    """Return the delta of a choice that has none, or null, or a message in its place; and whether the choice was changed for it."""
    message = choice.get("message")
    if isinstance(message, dict):
        choice["delta"] = choice.pop("message")
        return message, True
    if "delta" not in choice:
        return {}, False
    choice["delta"] = {}
    return choice["delta"], True


def _is_json(line: bytes) -> bool:
    try:
        return line == DONE or isinstance(jiter.from_json(line), dict)
    except ValueError:
        return False


def _tidied(head: bytes) -> bytes:
    """Return whole events with exactly one empty line after each."""
    return b"".join(event.strip(b"\n") + b"\n\n" for event in head.split(b"\n\n") if event.strip(b"\n"))


def _fields(event: bytes) -> tuple[bytes, bytes]:
    """Return the name and the data of an event, without comments, ids, and retry times, with several data lines joined."""
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
