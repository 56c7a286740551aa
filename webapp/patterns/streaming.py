"""Streamed deltas put together again: text, reasoning, refusal, whole tool calls, usage."""

from __future__ import annotations

from dataclasses import dataclass, field

from webapp.patterns.types import Delta, Message, StreamChunk, ToolCall, ToolCallDelta, Usage


@dataclass(slots=True)
class _Call:
    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class Accumulator:
    """Adds up the deltas of one choice; those of others are left aside.

    Text grows in amortized constant time a delta; the properties join what is there.
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
        """Take in one delta. Usage counts for the whole answer, whichever choice it comes with."""
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
        """Take in a packet; a restart voids what came before it."""
        if packet.switch == "restart":
            self.clear()
        for delta in packet.deltas:
            self.add(delta)

    def clear(self) -> None:
        """Forget all."""
        for parts in (self._text, self._reasoning, self._refusal):
            parts.clear()
        self._calls.clear()
        self.finish_reason, self.usage = "", None

    @property
    def text(self) -> str:
        return _joined(self._text)

    @property
    def reasoning(self) -> str:
        return _joined(self._reasoning)

    @property
    def refusal(self) -> str:
        return _joined(self._refusal)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls in their order. While `finish_reason` is empty or "length", the last may be cut off: never run those."""
        return [ToolCall(call.id, call.name, _joined(call.arguments)) for _, call in sorted(self._calls.items())]

    def message(self) -> Message:
        """The assistant message to put into the history."""
        message: Message = {"role": "assistant", "content": self.text or None}
        if self._refusal:
            message["refusal"] = self.refusal
        if self._calls:
            message["tool_calls"] = [call.as_message_part() for call in self.tool_calls]
        if len(message) == 2:  # some servers refuse null where nothing else is said
            message["content"] = self.text
        return message

    def _add_call(self, delta: ToolCallDelta) -> None:
        call = self._calls.setdefault(delta.index, _Call())
        call.id = call.id or delta.id
        call.name += delta.name
        if delta.arguments:
            call.arguments.append(delta.arguments)


def _joined(parts: list[str]) -> str:
    """The parts as one, kept joined so that the next time is cheap."""
    if len(parts) > 1:
        parts[:] = ["".join(parts)]
    return parts[0] if parts else ""
