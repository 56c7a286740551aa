"""Responses from servers that speak the protocol themselves: decoded, made whole, and passed on."""

from __future__ import annotations

import time
from typing import Final

import jiter

from webapp.patterns.openai.decoder import MAX_EVENT
from webapp.patterns.responses.encoder import EventEncoder, sse
from webapp.patterns.responses.objects import new_id, read_usage, usage_json
from webapp.patterns.responses.request import PROTOCOL
from webapp.patterns.responses.snapshot import LIFECYCLE, Snapshot, data_of
from webapp.patterns.types import Delta, Json, StreamChunk, ToolCallDelta, Usage

OWN_FIELDS: Final = ("id", "background", "conversation", "model", "previous_response_id", "store", "tools", "metadata", "created_at")
"""Fields of the response that say what the caller asked of Patchbay, not what Patchbay asked of the backend."""
_TEXT: Final = b"event: response.output_text.delta\n"
_TEXT_DATA: Final = _TEXT + b"data: "
_TEXT_FIELDS: Final = frozenset({"type", "sequence_number", "item_id", "output_index", "content_index", "delta", "logprobs"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})


_FAILURES: Final = frozenset({"response.failed", "response.cancelled"})


class ResponsesDecoder:
    """Decode the stream of a Responses server (the interface of `openai.decoder.StreamDecoder`).

    Events come out whole and numbered from 0. Fields that servers leave out are filled in: `sequence_number`, `logprobs`, indexes, item
    ids, details of the usage. Deltas say what the events mean, so that a chain can judge and count them.

    Args:
        fails: a response that fails after it has begun is an error, too. A client of the protocol gets that event passed on instead.

    Attributes:
        done, finished: the last event was seen.
        error: the error that the server reported, or one that says why the stream cannot be read.
    """

    def __init__(self, *, max_event: int = MAX_EVENT, fails: bool = False) -> None:
        self._fails = fails
        self.done = False
        self.error: Json | None = None
        self._max_event = max_event
        self._pending = bytearray()
        self._sequence = 0
        self._items: dict[int, Json] = {}
        self._calls: dict[int, int] = {}
        self._spoke = False

    @property
    def finished(self) -> bool:
        """Return whether the response has ended."""
        return self.done

    def feed(self, data: bytes) -> StreamChunk | None:
        """Return what these bytes complete; None while an event is still open."""
        if self.done or self.error is not None:
            return None
        if not self._pending and data.endswith(b"\n\n") and b"\r" not in data:
            return self._decode(data[:-2])
        self._pending += data.replace(b"\r", b"") if b"\r" in data else data  # JSON has no raw line ends
        end = self._pending.rfind(b"\n\n")
        if end < 0:
            if len(self._pending) > self._max_event:
                self._fail(f"One event of the stream is longer than {self._max_event} bytes.")
            return None
        head = bytes(self._pending[:end])
        del self._pending[: end + 2]
        return self._decode(head)

    def close(self) -> StreamChunk | None:
        """Return the last event, where the server forgot the empty line after it."""
        rest = bytes(self._pending)
        self._pending.clear()
        return self._decode(rest) if rest.strip() and not self.done and self.error is None else None

    def _decode(self, head: bytes) -> StreamChunk | None:
        raw: list[bytes] = []
        deltas: list[Delta] = []
        for event in head.split(b"\n\n"):
            if self.done or self.error is not None:
                break
            self._event(event, raw, deltas)
        return StreamChunk(b"".join(raw), tuple(deltas), protocol=PROTOCOL) if raw or deltas else None

    def _event(self, event: bytes, raw: list[bytes], deltas: list[Delta]) -> None:
        if event.startswith(_TEXT_DATA):  # the hot path: most events are text deltas, and most servers write them whole
            text = self._whole_text(event)
            if text is not None:
                self._sequence += 1
                self._spoke = True
                raw.append(event + b"\n\n")
                deltas.append(Delta(text))
                return
        decoded = data_of(event)
        if decoded is None:
            if b"data:" in event and b"[DONE]" not in event:
                self._fail("The stream holds broken JSON.")
            return
        kind = decoded.get("type")
        if kind == "error" or not isinstance(kind, str):
            self.error = {"error": decoded.get("error") or decoded}
            return
        before = len(decoded), decoded.get("sequence_number")
        self._complete(kind, decoded)
        if kind in _FAILURES and (self._fails or not self._spoke):
            self.error = {"error": decoded["response"].get("error") or "The server failed to answer."}
            return
        changed = before != (len(decoded), decoded.get("sequence_number")) or kind in LIFECYCLE
        raw.append(sse(decoded) if changed or not event.startswith(b"event: ") else event + b"\n\n")
        deltas += self._deltas(kind, decoded)

    def _whole_text(self, event: bytes) -> str | None:
        """Return the text of a text delta that lacks nothing; None for one that must be made complete."""
        try:
            decoded = jiter.from_json(event[len(_TEXT_DATA) :])
            whole = decoded["sequence_number"] == self._sequence and decoded.keys() >= _TEXT_FIELDS
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        text = decoded.get("delta")
        return text if whole and isinstance(text, str) else None

    def _complete(self, kind: str, event: Json) -> None:
        """Fill in what the schema requires, in place."""
        event["sequence_number"] = self._sequence
        self._sequence += 1
        if kind in LIFECYCLE:
            complete_response(event.setdefault("response", {}))
            return
        if kind.startswith("response.output_item."):
            event.setdefault("output_index", max(self._items, default=-1) + (kind == "response.output_item.added"))
            item = event.setdefault("item", {})
            known = self._items.get(event["output_index"], {})
            item.setdefault("id", known.get("id") or new_id("item_"))
            self._items[event["output_index"]] = item
            return
        index = event.setdefault("output_index", max(self._items, default=0))
        event.setdefault("item_id", self._items.get(index, {}).get("id") or "")
        if kind.startswith(("response.output_text.", "response.refusal.", "response.content_part.", "response.reasoning_text.")):
            event.setdefault("content_index", 0)
        if kind.startswith("response.reasoning_summary"):
            event.setdefault("summary_index", 0)
        if kind in {"response.output_text.delta", "response.output_text.done"}:
            event.setdefault("logprobs", [])

    def _deltas(self, kind: str, event: Json) -> list[Delta]:
        match kind:
            case "response.output_text.delta":
                self._spoke = True
                return [Delta(text=str(event.get("delta") or ""))]
            case "response.refusal.delta":
                self._spoke = True
                return [Delta(refusal=str(event.get("delta") or ""))]
            case "response.reasoning_text.delta" | "response.reasoning_summary_text.delta":
                self._spoke = True
                return [Delta(reasoning=str(event.get("delta") or ""))]
            case "response.output_item.added":
                return self._begun(event)
            case "response.function_call_arguments.delta":
                number = self._calls.get(event["output_index"])
                return [] if number is None else [Delta(tool_calls=(ToolCallDelta(number, arguments=str(event.get("delta") or "")),))]
            case end if end in _ENDS:
                self.done = True
                return [Delta(finish_reason=self._finish_reason(event["response"]), usage=read_usage(event["response"]) or Usage())]
            case _:
                return []

    def _begun(self, event: Json) -> list[Delta]:
        """Return the deltas of a new item: the name of a call. Items of hosted tools count as content: the server is at work."""
        item = event["item"]
        if item.get("type") in {"function_call", "custom_tool_call"}:
            number = self._calls.setdefault(event["output_index"], len(self._calls))
            self._spoke = True
            return [Delta(tool_calls=(ToolCallDelta(number, str(item.get("call_id") or ""), str(item.get("name") or "")),))]
        return []

    def _finish_reason(self, response: Json) -> str:
        reason = (response.get("incomplete_details") or {}).get("reason")
        if reason == "max_output_tokens":
            return "length"
        if reason:
            return "content_filter"
        return "tool_calls" if self._calls else "stop"

    def _fail(self, message: str) -> None:
        self.error = self.error or {"error": {"message": message, "type": "unreadable_stream"}}


def complete_response(response: Json) -> None:
    """Fill in what the schema requires of a response object and servers leave out, in place."""
    defaults: Json = {
        "id": new_id("resp_"), "object": "response", "created_at": int(time.time()), "status": "in_progress", "background": False,
        "error": None, "incomplete_details": None, "instructions": None, "max_output_tokens": None, "metadata": {}, "output": [],
        "parallel_tool_calls": True, "previous_response_id": None, "reasoning": {"effort": None, "summary": None}, "temperature": 1.0,
        "text": {"format": {"type": "text"}}, "tool_choice": "auto", "tools": [], "top_p": 1.0, "truncation": "disabled", "usage": None,
    }  # fmt: skip
    for name, default in defaults.items():
        if name not in response:
            response[name] = default
    for item in response["output"] or ():
        complete_item(item)
    if isinstance(response["usage"], dict):
        counted = usage_json(read_usage(response) or Usage())
        for name, value in counted.items():
            given = response["usage"].get(name)
            response["usage"][name] = {**value, **given} if isinstance(value, dict) and isinstance(given, dict) else given or value


def complete_item(item: Json) -> None:
    """Fill in what the schema requires of an output item and servers leave out, in place."""
    item.setdefault("id", new_id("item_"))
    if item.get("type") == "message":
        item.setdefault("role", "assistant")
        item.setdefault("status", "completed")
        for part in item.get("content") or ():
            if isinstance(part, dict) and part.get("type") == "output_text":
                part.setdefault("annotations", [])
                part.setdefault("logprobs", [])
    elif item.get("type") == "reasoning":
        item.setdefault("summary", [])


def adopt(response: Json, answer: Json) -> None:
    """Take a server's whole response over into ours, in place."""
    complete_response(answer)
    kept: Json = {name: response[name] for name in OWN_FIELDS if name in response}
    response.update({**answer, **kept})


class Relay:
    """Passes the events of a native server on, under our response's id; keeps track of them, so that another step could go on.

    Args:
        encoder: of the response; it goes on where the server stops (`hand_over`).
        announced: the client has had `response.created` already.
    """

    def __init__(self, encoder: EventEncoder, *, announced: bool) -> None:
        self._encoder = encoder
        self._announced = announced
        self._snapshot = Snapshot(encoder.response)
        self._shift = encoder.sequence
        self._first_item = encoder.next_item
        self._before = list(encoder.response["output"])
        self._ended = False

    def take(self, packet: StreamChunk) -> bytes:
        """Return the events to pass on."""
        if self._shift or self._first_item or not packet.raw.startswith(_TEXT):
            return b"".join(map(self._event, packet.raw.split(b"\n\n")))
        if packet.raw.count(_TEXT) == packet.raw.count(b"\n\n"):
            return self._text(packet)
        return b"".join(map(self._event, packet.raw.split(b"\n\n")))

    def _text(self, packet: StreamChunk) -> bytes:
        """Pass text deltas on as they came: this is the hot path."""
        self._snapshot.sequence += len(packet.deltas)
        self._snapshot.add_last_text("".join(delta.text for delta in packet.deltas))
        return packet.raw

    def _event(self, raw: bytes) -> bytes:
        event = data_of(raw)
        if event is None:
            return b""
        kind = event["type"]
        if kind in LIFECYCLE:
            if self._announced and kind in {"response.created", "response.queued"}:
                self._shift -= 1
                return b""
            self._adopt(event, ended=kind in _ENDS)
        elif "output_index" in event:
            event["output_index"] += self._first_item
        event["sequence_number"] += self._shift
        self._snapshot.apply(event)
        return sse(event) if self._shift or self._first_item or kind in LIFECYCLE else raw + b"\n\n"

    def _adopt(self, event: Json, *, ended: bool) -> None:
        response = self._encoder.response
        adopt(response, event["response"])
        if ended:
            response["output"] = [*self._before, *response["output"]]
            self._ended = True
        event["response"] = response

    def close(self) -> bytes:
        """Return what is missing at the end: nothing, where the server ended the response itself."""
        if self._ended:
            return b""
        self.hand_over()
        return self._encoder.finish()

    def hand_over(self) -> None:
        """Have the encoder go on after the last event; items that are open are closed by it."""
        response = self._encoder.response
        snapshot = self._snapshot
        response["output"] = [*self._before, *snapshot.settle_items()]
        self._encoder.go_on(sequence=snapshot.sequence, items=max(snapshot.next_item, self._first_item))
