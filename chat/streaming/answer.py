"""An answer as it grows: a list of parts, folded from events.

Events are small JSON objects, the same in memory, in the log and after a restart:

    {"k": "text" | "reasoning", "d": str}           more of the open part of that kind, or a new one
    {"k": "call", "id", "name", "arguments", "at"}  a tool call begins (at: seconds since the epoch)
    {"k": "ask", "id", "reason"}                    it waits for the user's yes
    {"k": "run", "id"}                              it runs
    {"k": "progress", "id", "done", "total", "message"}   it reports its progress
    {"k": "input", "id", "question"}                it waits for the user's answer to a question
    {"k": "result", "id", "result", "error", "ms", "images"}  it ended; `images` are as in a message's `attachments`
    {"k": "turn"}                                   what is there stays, whatever happens to what follows
    {"k": "restart"}                                what came since is void: another backend begins again
    {"k": "value", "raw", "value", "tries", "id"}   JSON that fits the schema, and what was wrong with the answers before it
    {"k": "end", "at"}                              the open part is whole
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

Event = dict[str, Any]
_TOOL_EVENTS = frozenset({"ask", "run", "progress", "input", "result"})


class Part:
    """Text, reasoning, or one tool call."""

    __slots__ = ("_pieces", "fields", "kind", "whole")

    def __init__(self, kind: str, **fields: Any) -> None:
        self.kind = kind
        self.fields = fields
        self.whole = False
        self._pieces: list[str] = []

    @property
    def text(self) -> str:
        """Return the text received so far."""
        if len(self._pieces) > 1:
            self._pieces = ["".join(self._pieces)]
        return self._pieces[0] if self._pieces else ""

    def add(self, text: str) -> None:
        """Append text."""
        self._pieces.append(text)

    def as_json(self) -> dict[str, Any]:
        """Return the part as it is stored."""
        return {"kind": self.kind, **self.fields, **({"text": self.text} if self.kind != "tool" else {})}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Part:
        """Return a finished part from its stored form."""
        part = cls(data["kind"], **{name: value for name, value in data.items() if name not in {"kind", "text"}})
        part.add(data.get("text", ""))
        part.whole = True
        return part


class Answer:
    """The parts of an answer, in order. `base` holds the parts that a continued answer had before."""

    def __init__(self, base: Iterable[dict[str, Any]] = ()) -> None:
        self.parts: list[Part] = [Part.from_json(data) for data in base]
        self._keep()
        if self.parts and self.parts[-1].kind == "text":
            self.parts[-1].whole = False  # a continued answer continues the same paragraph

    @property
    def text(self) -> str:
        """Return the text of the answer without reasoning and tool calls, its parts separated by blank lines."""
        return "\n\n".join(part.text for part in self.parts if part.kind == "text" and part.text)

    def as_json(self) -> list[dict[str, Any]]:
        """Return the parts as they are stored, empty ones left out."""
        return [part.as_json() for part in self.parts if part.kind == "tool" or part.text]

    def apply(self, event: Event) -> None:
        """Apply one event."""
        kind = event["k"]
        if kind in {"text", "reasoning"}:
            self._open(kind, event.get("at")).add(event["d"])
        elif kind == "call":
            self._close(event.get("at"))
            fields = {name: event[name] for name in ("id", "name", "arguments", "at")}
            self.parts.append(Part("tool", state="running", **fields))
        elif kind in _TOOL_EVENTS:
            self._tool(event)
        elif kind == "turn":
            self._close(event.get("at"))
            self._keep()
        elif kind == "restart":
            self._restart()
        elif kind == "value":
            self._value(event)
        elif kind == "end":
            self._close(event.get("at"))

    def _value(self, event: Event) -> None:
        self._close(None)
        part = Part("text", **{name: value for name, value in event.items() if name not in {"k", "raw"}})
        part.add(event["raw"])
        part.whole = True
        self.parts.append(part)

    def _open(self, kind: str, at: float | None) -> Part:
        last = self.parts[-1] if self.parts else None
        if last is None or last.whole or last.kind != kind:
            self._close(at)
            last = Part(kind, **({"at": at} if kind == "reasoning" else {}))
            self.parts.append(last)
        return last

    def _close(self, at: float | None) -> None:
        last = self.parts[-1] if self.parts else None
        if last is None or last.kind == "tool" or last.whole:
            return
        last.whole = True
        began = last.fields.pop("at", None)
        if last.kind == "reasoning" and began and at:
            last.fields["ms"] = round((at - began) * 1000)

    def _tool(self, event: Event) -> None:
        part = next((part for part in reversed(self.parts) if part.kind == "tool" and part.fields["id"] == event["id"]), None)
        if part is None:
            return
        if event["k"] == "result":
            part.fields.update({name: event[name] for name in ("result", "error", "ms", "images") if name in event})
            part.fields["state"] = "failed" if event["error"] else "done"
            for name in ("question", "progress", "reason"):
                part.fields.pop(name, None)
            part.whole = True
        elif event["k"] == "progress":
            part.fields["progress"] = {name: event[name] for name in ("done", "total", "message")}
        else:
            part.fields.update({name: event[name] for name in ("reason", "question") if name in event})
            part.fields["state"] = {"ask": "asking", "input": "input", "run": "running"}[event["k"]]

    def _keep(self) -> None:
        self._kept = len(self.parts)
        self._kept_text = len(self.parts[-1].text) if self.parts else 0

    def _restart(self) -> None:
        kept = self.parts[: self._kept]
        if kept and kept[-1].kind == "text":
            fresh = Part("text", **kept[-1].fields)
            fresh.add(kept[-1].text[: self._kept_text])
            kept[-1] = fresh
        self.parts = kept

    def settle(self) -> None:
        """Close open parts after a stop or a crash. An open call gets no result."""
        self._close(None)
        for part in self.parts:
            if part.kind == "tool" and not part.whole:
                part.fields.update(state="failed", result="", error="It did not finish.", ms=None)
                part.whole = True


def merged(events: Iterable[Event]) -> list[Event]:
    """Return the events with neighboring texts of one kind merged."""
    result: list[Event] = []
    pieces: list[str] = []
    for event in events:
        if "d" in event and result and result[-1]["k"] == event["k"] and "d" in result[-1]:
            pieces.append(event["d"])
            continue
        if pieces:
            result[-1]["d"] += "".join(pieces)
            pieces = []
        result.append(dict(event))
    if pieces:
        result[-1]["d"] += "".join(pieces)
    return result
