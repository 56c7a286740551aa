"""Combine streamed deltas into text, reasoning, refusal, complete tool calls, and usage."""

from __future__ import annotations

from dataclasses import dataclass, field

from webapp.patterns.types import Delta, Message, StreamChunk, ToolCall, ToolCallDelta, Usage


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Accumulator:
    """Combine the deltas of one choice, and ignore other choices.

    Appending takes amortized constant time per delta. The properties join the parts.
    """

    def __init__(self, choice: int = 0) -> None:
        self._choice = choice
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, _Call] = {}
        self.finish_reason = ""
        self.usage: Usage | None = None

    def add(self, delta: Delta) -> None:
        """Add one delta. Usage counts for the whole answer, in whichever choice it arrives."""
        if delta.usage is not None:
            self.usage = delta.usage
        if delta.choice != self._choice:
            return
        if delta.was_reasoning:
            self._reasoning, self._text = [*self._reasoning, *self._text], []
        if delta.text:
            self._text.append(delta.text)
        if delta.reasoning:
            self._reasoning.append(delta.reasoning)
        if delta.refusal:
            self._refusal.append(delta.refusal)
        for call in delta.tool_calls:
            self._add_call(call)
        if delta.finish_reason:
            self.finish_reason = delta.finish_reason

    def add_packet(self, packet: StreamChunk) -> None:
        """Add a chunk. A restart discards everything before it."""
        if packet.switch == "restart":
            self.clear()
        for delta in packet.deltas:
            self.add(delta)

    def clear(self) -> None:
        """Discard everything."""
        for parts in (self._text, self._reasoning, self._refusal):
            parts.clear()
        self._calls.clear()
        self.finish_reason, self.usage = "", None

    @property
    def text(self) -> str:
        """Return the text so far."""
        return _joined(self._text)

    @property
    def reasoning(self) -> str:
        """Return the reasoning so far."""
        return _joined(self._reasoning)

    @property
    def refusal(self) -> str:
        """Return the refusal so far."""
        return _joined(self._refusal)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """Return the calls in their order. While `finish_reason` is empty or "length", the last may be truncated: never run it."""
        return [ToolCall(call.id, call.name, _joined(call.arguments)) for _, call in sorted(self._calls.items())]

    def message(self) -> Message:
        """Return the assistant message for the history."""
        message: Message = {"role": "assistant", "content": self.text or None}
        if self._refusal:
            message["refusal"] = self.refusal
        if self._calls:
            message["tool_calls"] = [call.as_message_part() for call in self.tool_calls]
        if len(message) == 2:  # some servers refuse null in an otherwise empty message
            message["content"] = self.text
        return message

    def _add_call(self, delta: ToolCallDelta) -> None:
        call = self._calls.setdefault(delta.index, _Call())
        call.id = call.id or delta.id
        call.name += delta.name
        if delta.arguments:
            call.arguments.append(delta.arguments)


def _joined(parts: list[str]) -> str:
    """Return the joined parts, and keep them joined so that the next call is cheap."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""
