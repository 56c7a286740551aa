"""Decode the server-sent events of an Anthropic server."""

from __future__ import annotations

from typing import Any, Final

from webapp.patterns.messages.completions import FINISH_REASONS, read_usage
from webapp.patterns.openai.choices import decode, encode
from webapp.patterns.openai.chunk_writer import ChunkWriter
from webapp.patterns.types import Delta, Json, StreamChunk, ToolCallDelta, Usage

MAX_EVENT: Final = 4_194_304
"""Bytes of one event; a longer one is an error."""


class EventDecoder:
    """Decodes one stream. Feed it bytes as they come.

    Args:
        writer: writes chat chunks in place of the events; None passes the events as they came.

    Attributes:
        done: `message_stop` was seen; what comes later is ignored.
        finished: the message has a stop reason.
        error: the error event that the server sent, or one that says why the stream cannot be read.
    """

    def __init__(self, writer: ChunkWriter | None = None) -> None:
        self.done = False
        self.finished = False
        self.error: Json | None = None
        self._writer = writer
        self._pending = b""
        self._calls: dict[int, int] = {}
        self._usage: Json = {}

    def feed(self, data: bytes) -> StreamChunk | None:
        """Return what these bytes complete; None while an event is still open."""
        if self.done or self.error is not None:
            return None
        data = (self._pending + data).replace(b"\r\n", b"\n")
        end = data.rfind(b"\n\n") + 2
        if end < 2:
            self._pending = data
            if len(data) > MAX_EVENT:
                self._fail(f"One event of the stream is longer than {MAX_EVENT} bytes.")
            return None
        self._pending = data[end:]
        return self._chunk(data[:end])

    def close(self) -> StreamChunk | None:
        """Return the last event, where the server forgot the empty line after it."""
        rest, self._pending = self._pending, b""
        if self.done or self.error is not None or not rest.strip():
            return None
        return self._chunk(rest + b"\n\n")

    def _chunk(self, head: bytes) -> StreamChunk | None:
        deltas: list[Delta] = []
        kept: list[bytes] = []
        for event in head.split(b"\n\n"):
            if not event.strip():
                continue
            raw = self._event(event, deltas)
            if self.error is not None:
                break
            kept.append(raw + b"\n\n")
            if self.done:
                break
        if self._writer is not None:
            raw = self._writer.write(deltas) + (self._writer.done() if self.done else b"")
            return StreamChunk(raw, tuple(deltas)) if raw or deltas else None
        return StreamChunk(b"".join(kept), tuple(deltas), protocol="messages") if kept else None

    def _event(self, event: bytes, deltas: list[Delta]) -> bytes:
        """Add what an event means to the deltas; return its bytes, rewritten if they would break clients."""
        data = b"\n".join(line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:"))
        if not data:
            return event
        try:
            body, odd = decode(data)
        except (ValueError, RecursionError):
            self._fail("The stream holds broken JSON.")
            return b""
        if not isinstance(body, dict):
            self._fail("The stream holds JSON that is not an object.")
            return b""
        delta = self._read(body)
        if delta is not None:
            deltas.append(delta)
        return b"event: %b\ndata: %b" % (str(body.get("type")).encode("utf-8", "replace"), encode(body)) if odd else event

    def _read(self, body: Json) -> Delta | None:
        match body.get("type"):
            case "content_block_delta":
                return self._block_delta(_object(body, "delta"), body.get("index"))
            case "content_block_start":
                return self._block_start(_object(body, "content_block"), body.get("index"))
            case "message_start":
                return Delta(usage=self._counted(_object(body, "message")))
            case "message_delta":
                reason = _object(body, "delta").get("stop_reason")
                self.finished |= bool(reason)
                return Delta(finish_reason=FINISH_REASONS.get(str(reason), "stop") if reason else "", usage=self._counted(body))
            case "message_stop":
                self.done = True
            case "error":
                self.error = body
        return None

    def _block_start(self, block: Json, index: Any) -> Delta | None:
        match block.get("type"):
            case "tool_use":
                number = self._calls[index] = len(self._calls)
                return Delta(tool_calls=(ToolCallDelta(number, str(block.get("id") or ""), str(block.get("name") or "")),))
            case "text" if block.get("text"):
                return Delta(text=str(block["text"]))
            case "thinking" if block.get("thinking"):
                return Delta(reasoning=str(block["thinking"]))
        return None

    def _block_delta(self, delta: Json, index: Any) -> Delta | None:
        match delta.get("type"):
            case "text_delta":
                return Delta(text=str(delta.get("text") or ""))
            case "thinking_delta":
                return Delta(reasoning=str(delta.get("thinking") or ""))
            case "input_json_delta" if index in self._calls and delta.get("partial_json"):
                return Delta(tool_calls=(ToolCallDelta(self._calls[index], arguments=str(delta["partial_json"])),))
        return None

    def _counted(self, body: Json) -> Usage | None:
        """Return the counts so far: those of `message_start`, with what later events replaced."""
        usage = body.get("usage")
        if isinstance(usage, dict):
            self._usage.update({name: value for name, value in usage.items() if value is not None})
        return read_usage({"usage": self._usage}) if self._usage else None

    def _fail(self, message: str) -> None:
        self.error = {"error": {"message": message, "type": "unreadable_stream"}}


def _object(body: Json, name: str) -> Json:
    value = body.get(name)
    return value if isinstance(value, dict) else {}
