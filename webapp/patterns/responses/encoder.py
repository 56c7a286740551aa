"""The events of a response, made from the deltas of any backend, in the order that OpenAI sends them.

Each item is opened, filled and closed before the next one begins. Every event has a `sequence_number`; the numbers have no gaps.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, Final

from webapp.patterns.agent.tools import parse_arguments
from webapp.patterns.responses.citations import Citations
from webapp.patterns.responses.objects import Status, item_id, set_status, usage_json
from webapp.patterns.responses.tools import CalledTool, ToolSet
from webapp.patterns.types import Delta, Json, ToolCall, ToolCallDelta, Usage

REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by the finish reason of the chat completion."""

_dumps: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def sse(event: Json) -> bytes:
    """Return an event as a server-sent event."""
    return f"event: {event['type']}\ndata: {_dumps(event)}\n\n".encode(errors="replace")


class EventEncoder:
    """Turns the deltas of a response into its events; each method returns them as bytes for the client.

    Args:
        response: the response object; it is kept up to date.
        tools: finds the caller's tool for each call.
        summaries: send reasoning as a summary, for callers that asked for one; else as reasoning text.
        sequence: the number of the first event.
        items: how many items the response had before, where it goes on after a restart.

    Attributes:
        usage: tokens of all turns.
        finish_reason: of the last turn.
        server_calls: the calls of this turn that the server must run.
        citations: the results of file searches, which the text may cite.
    """

    def __init__(self, response: Json, tools: ToolSet, *, summaries: bool = False, sequence: int = 0, items: int = 0) -> None:
        self.response = response
        self.usage = Usage()
        self.finish_reason = ""
        self.server_calls: list[ToolCall] = []
        self.citations = Citations()
        self.sequence = sequence
        self._tools = tools
        self._summaries = summaries
        self._turn_usage: Usage | None = None
        self._next_item = items
        self._out: list[bytes] = []
        self._message: _Message | None = None
        self._reasoning: _Reasoning | None = None
        self._calls: dict[int, _Call] = {}
        self._turn_items: list[Json] = []

    def use_tools(self, tools: ToolSet) -> None:
        """Find the caller's tools here from now on."""
        self._tools = tools

    def go_on(self, *, sequence: int, items: int) -> None:
        """Continue after events that a native server numbered."""
        self.sequence, self._next_item = sequence, items

    @property
    def next_item(self) -> int:
        """Return the index of the item that is opened next."""
        return self._next_item

    def take_server_calls(self) -> list[ToolCall]:
        """Return the calls of the last turn that the server must run, once."""
        calls, self.server_calls = self.server_calls, []
        return calls

    # --- the response as a whole

    def start(self) -> bytes:
        """Begin: `response.created` and `response.in_progress`."""
        self.response["status"] = "in_progress"
        self._emit_response("response.created")
        self._emit_response("response.in_progress")
        return self.taken()

    def queued(self) -> bytes:
        """Begin a response that waits to run: `response.created` and `response.queued`."""
        self._emit_response("response.created")
        self._emit_response("response.queued")
        return self.taken()

    def resume(self) -> bytes:
        """Say that a queued response runs now: `response.in_progress`."""
        self.response["status"] = "in_progress"
        self._emit_response("response.in_progress")
        return self.taken()

    def finish(self) -> bytes:
        """Close what is open and end the response as its finish reason says: completed or incomplete."""
        self.close_items()
        reason = REASONS.get(self.finish_reason, "")
        self.end("incomplete" if reason else "completed", reason=reason)
        return self.taken()

    def fail(self, error: Json) -> bytes:
        """End the response with `response.failed`; the items so far stay, the open ones incomplete."""
        self.close_items(status="incomplete")
        self.end("failed", error=error)
        return self.taken()

    def interrupt(self, reason: str, status: Status = "incomplete") -> bytes:
        """End a response that was cut off from outside: incomplete or cancelled."""
        self.close_items(status="incomplete")
        self.end(status, reason=reason if status == "incomplete" else "")
        return self.taken()

    def end(self, status: Status, *, error: Json | None = None, reason: str = "") -> None:
        """Set the final status and usage, and emit the last event."""
        set_status(self.response, status, error=error, reason=reason)
        usage = self.usage + (self._turn_usage or Usage())
        self.response["usage"] = usage_json(usage)
        # Clients know no event of a cancelled response: OpenAI ends the stream with the status in the response.
        self._emit_response("response.incomplete" if status == "cancelled" else f"response.{status}")

    # --- the items of a turn

    def add(self, deltas: Iterable[Delta]) -> bytes:
        """Take in deltas; only the first choice counts."""
        for delta in deltas:
            if delta.usage is not None:
                self._turn_usage = delta.usage
            if delta.choice == 0:
                self._add(delta)
        return self.taken()

    def add_logprobs(self, logprobs: Iterable[Json]) -> None:
        """Keep the log probabilities of text that was added; they come with the end of its part."""
        if self._message is not None:
            self._message.logprobs += logprobs

    def restart(self) -> None:
        """Void the items of this turn: another step begins the answer anew. The final response leaves them out."""
        self.close_items(status="incomplete")
        voided = {id(item) for item in self._turn_items}
        self.response["output"] = [item for item in self.response["output"] if id(item) not in voided]
        self._begin_turn()

    def end_turn(self) -> bytes:
        """Close the items of a turn of the model."""
        self.close_items()
        self.usage += self._turn_usage or Usage()
        self._begin_turn(keep_calls=True)
        return self.taken()

    def _begin_turn(self, *, keep_calls: bool = False) -> None:
        self._turn_items = []
        self._turn_usage = None
        if not keep_calls:
            self.server_calls = []

    def close_items(self, status: str = "") -> None:
        """Close what is open. Items are completed unless the finish reason or `status` says otherwise."""
        status = status or ("incomplete" if self.finish_reason in REASONS else "completed")
        self._close_reasoning(status)
        self._close_message(status)
        for index in list(self._calls):
            self._close_call(index, status)

    def add_item(self, item: Json, *between: str) -> bytes:
        """Emit a whole item at once: added, the named events about it, done."""
        index = self.open_item(item)
        for name in between:
            self.item_event(name, item, index)
        self.close_item(item, index)
        return self.taken()

    def open_item(self, item: Json) -> int:
        """Emit `response.output_item.added`; the item's index."""
        index = self._next_item
        self._next_item += 1
        self._emit("response.output_item.added", output_index=index, item=item)
        return index

    def close_item(self, item: Json, index: int) -> None:
        """Put an item into the output and emit `response.output_item.done`."""
        self._emit("response.output_item.done", output_index=index, item=item)
        self.response["output"].append(item)
        self._turn_items.append(item)

    def item_event(self, event: str, item: Json, index: int, /, **fields: Any) -> None:
        """Emit an event about an item."""
        self._emit(event, item_id=item["id"], output_index=index, **fields)

    def new_item_id(self, prefix: str) -> str:
        """Return the id of the item that is opened next."""
        return item_id(prefix, self.response["id"], self._next_item)

    # --- inside

    def _add(self, delta: Delta) -> None:
        if delta.reasoning:
            self._add_reasoning(delta.reasoning)
        if delta.text:
            self._add_text("text", delta.text)
        if delta.refusal:
            self._add_text("refusal", delta.refusal)
        for call in delta.tool_calls:
            self._add_call(call)
        if delta.finish_reason:
            self.finish_reason = delta.finish_reason

    def _add_reasoning(self, text: str) -> None:
        self._close_message("completed")
        if self._reasoning is None:
            self._reasoning = _Reasoning(self, summary=self._summaries)
        self._reasoning.add(text)

    def _add_text(self, kind: str, text: str) -> None:
        message = self._message
        if message is None or message.kind != kind:
            self._close_reasoning("completed")
            if message is None:
                message = self._message = _Message(self)
            message.begin(kind)
        if kind == "text" and self.citations:
            self._add_cited(message, text)
        else:
            self._out.append(message.delta(text))

    def _add_cited(self, message: _Message, text: str) -> None:
        """Add text that may hold markers of citations."""
        for piece in self.citations.read(text):
            if isinstance(piece, str):
                self._out.append(message.delta(piece))
            else:
                message.cite(piece)

    def _add_call(self, fragment: ToolCallDelta) -> None:
        call = self._calls.get(fragment.index)
        if call is None:
            self._close_reasoning("completed")
            self._close_message("completed")
            for index in [index for index, other in self._calls.items() if other.is_whole]:
                self._close_call(index, "completed")
            call = self._calls[fragment.index] = _Call(self, self._tools.called)
        call.add(fragment)

    def _close_reasoning(self, status: str) -> None:
        if self._reasoning is not None:
            self._reasoning.close(status)
            self._reasoning = None

    def _close_message(self, status: str) -> None:
        if self._message is not None:
            self._message.close(status)
            self._message = None

    def _close_call(self, index: int, status: str) -> None:
        call = self._calls.pop(index)
        if call.tool.runs_here:
            if status == "completed":  # one that was cut off is never run
                self.server_calls.append(call.as_tool_call())
        else:
            call.close(status)

    def _emit_response(self, name: str) -> None:
        self._emit(name, response=self.response)

    def _emit(self, event: str, /, **fields: Any) -> None:
        self._out.append(sse({"type": event, "sequence_number": self.sequence, **fields}))
        self.sequence += 1

    def emit_raw(self, event: bytes) -> None:
        """Emit an event that is encoded already."""
        self._out.append(event)

    def taken(self) -> bytes:
        """Return the events since the last call of any method that returns them."""
        out, self._out = self._out, []
        return out[0] if len(out) == 1 else b"".join(out)


class _Message:
    """The message item that is open: one part at a time, of text or of refusal."""

    def __init__(self, encoder: EventEncoder) -> None:
        self._encoder = encoder
        self._item: Json = {
            "id": encoder.new_item_id("msg_"), "type": "message", "status": "in_progress", "role": "assistant", "content": [],
        }  # fmt: skip
        self._index = encoder.open_item(self._item)
        self._text: list[str] = []
        self._head = ""
        self._annotations: list[Json] = []
        self.kind = ""
        self.logprobs: list[Json] = []

    def begin(self, kind: str) -> None:
        """Open a part: "text" or "refusal"."""
        self._close_part()
        self.kind = kind
        part = (
            {"type": "output_text", "text": "", "annotations": [], "logprobs": []} if kind == "text" else {"type": "refusal", "refusal": ""}
        )
        number = len(self._item["content"])
        self._encoder.item_event("response.content_part.added", self._item, self._index, content_index=number, part=part)
        name = "response.output_text.delta" if kind == "text" else "response.refusal.delta"
        logprobs = '"logprobs":[],' if kind == "text" else ""
        self._head = (
            f'event: {name}\ndata: {{"type":"{name}","item_id":"{self._item["id"]}","output_index":{self._index},"content_index":{number},'
            f'{logprobs}"sequence_number":'
        )

    def delta(self, text: str) -> bytes:
        """Return the event for more text. This is the hot path: only the text is encoded, the rest was prepared by `begin`."""
        self._text.append(text)
        encoder = self._encoder
        event = f'{self._head}{encoder.sequence},"delta":{_dumps(text)}}}\n\n'
        encoder.sequence += 1
        return event.encode(errors="replace")

    def cite(self, source: Json) -> None:
        """Emit a citation of a file at the end of the text so far; `index` counts its characters."""
        annotation: Json = {"type": "file_citation", "index": sum(map(len, self._text)), **source}
        place = {"annotation_index": len(self._annotations), "annotation": annotation}
        self._event("response.output_text.annotation.added", len(self._item["content"]), **place)
        self._annotations.append(annotation)

    def _close_part(self) -> None:
        if not self.kind:
            return
        if self.kind == "text" and (held := self._encoder.citations.finish()):
            self._encoder.emit_raw(self.delta(held))
        text, self._text = "".join(self._text), []
        number = len(self._item["content"])
        part: Json
        if self.kind == "text":
            logprobs, self.logprobs = self.logprobs, []
            annotations, self._annotations = self._annotations, []
            part = {"type": "output_text", "text": text, "annotations": annotations, "logprobs": logprobs}
            self._event("response.output_text.done", number, text=text, logprobs=logprobs)
        else:
            part = {"type": "refusal", "refusal": text}
            self._event("response.refusal.done", number, refusal=text)
        self._event("response.content_part.done", number, part=part)
        self._item["content"].append(part)
        self.kind = ""

    def close(self, status: str) -> None:
        """Close the part and the item."""
        self._close_part()
        self._item["status"] = status
        self._encoder.close_item(self._item, self._index)

    def _event(self, name: str, number: int, **fields: Any) -> None:
        self._encoder.item_event(name, self._item, self._index, content_index=number, **fields)


class _Reasoning:
    """The reasoning item that is open."""

    def __init__(self, encoder: EventEncoder, *, summary: bool) -> None:
        self._encoder = encoder
        self._summary = summary
        self._item: Json = {"id": encoder.new_item_id("rs_"), "type": "reasoning", "status": "in_progress", "summary": []}
        self._index = encoder.open_item(self._item)
        self._text: list[str] = []
        self._name, self._place = ("reasoning_summary", "summary_index") if summary else ("reasoning", "content_index")
        if summary:
            self._event("response.reasoning_summary_part.added", part={"type": "summary_text", "text": ""})
        else:
            self._event("response.content_part.added", part={"type": "reasoning_text", "text": ""})

    def add(self, text: str) -> None:
        """Add text."""
        self._text.append(text)
        self._event(f"response.{self._name}_text.delta", delta=text)

    def close(self, status: str) -> None:
        """Close the part and the item."""
        text = "".join(self._text)
        self._event(f"response.{self._name}_text.done", text=text)
        if self._summary:
            part = {"type": "summary_text", "text": text}
            self._event("response.reasoning_summary_part.done", part=part)
            self._item["summary"] = [part]
        else:
            part = {"type": "reasoning_text", "text": text}
            self._event("response.content_part.done", part=part)
            self._item["content"] = [part]
        self._item["status"] = status
        self._encoder.close_item(self._item, self._index)

    def _event(self, name: str, **fields: Any) -> None:
        self._encoder.item_event(name, self._item, self._index, **{self._place: 0}, **fields)


class _Call:
    """A tool call that is open. Its item begins once the name is known; calls that the server runs have no item of their own yet."""

    def __init__(self, encoder: EventEncoder, find: Callable[[str], CalledTool]) -> None:
        self._encoder = encoder
        self._find = find
        self._id = ""
        self._name = ""
        self._arguments: list[str] = []
        self._item: Json | None = None
        self._index = -1
        self.tool = CalledTool("function", "")

    @property
    def is_whole(self) -> bool:
        """Return whether the arguments so far are a whole JSON object."""
        return "".join(self._arguments).rstrip().endswith("}") and isinstance(parse_arguments("".join(self._arguments)), dict)

    def add(self, fragment: ToolCallDelta) -> None:
        """Take in a fragment."""
        self._id = self._id or fragment.id
        if fragment.name and not self._name:
            self._name = fragment.name
            self.tool = self._find(self._name)
            if not self.tool.runs_here:
                self._open()
        if fragment.arguments:
            self._arguments.append(fragment.arguments)
            if self._item is not None and self.tool.kind == "function":
                self._encoder.item_event("response.function_call_arguments.delta", self._item, self._index, delta=fragment.arguments)

    def _open(self) -> None:
        named: Json = {"status": "in_progress", "call_id": self._id, "name": self.tool.name}
        if self.tool.namespace:
            named["namespace"] = self.tool.namespace
        if self.tool.kind == "custom":
            item: Json = {
                "id": self._encoder.new_item_id("ctc_"),
                "type": "custom_tool_call",
                "status": "in_progress",
                "input": "",
                **named,
            }
        else:
            item = {"id": self._encoder.new_item_id("fc_"), "type": "function_call", "arguments": "", **named}
        self._item, self._index = item, self._encoder.open_item(item)

    def close(self, status: str) -> None:
        """Close the item."""
        if self._item is None:  # the server never named the tool
            self._open()
        assert self._item is not None
        arguments = "".join(self._arguments)
        if self.tool.kind == "custom":
            text = _freeform(arguments)
            self._encoder.item_event("response.custom_tool_call_input.delta", self._item, self._index, delta=text)
            self._encoder.item_event("response.custom_tool_call_input.done", self._item, self._index, input=text)
            self._item["input"] = text
        else:
            arguments = arguments or "{}"
            done = {"arguments": arguments, "name": self.tool.name}
            self._encoder.item_event("response.function_call_arguments.done", self._item, self._index, **done)
            self._item["arguments"] = arguments
        self._item["status"] = status
        self._encoder.close_item(self._item, self._index)

    def as_tool_call(self) -> ToolCall:
        """Return the call as the model made it."""
        return ToolCall(self._id, self._name, "".join(self._arguments))


def _freeform(arguments: str) -> str:
    """Return the plain text in the arguments of a tool that takes plain text; what the model wrote where that is no such object."""
    parsed = parse_arguments(arguments)
    return parsed["input"] if isinstance(parsed, dict) and isinstance(parsed.get("input"), str) else arguments
