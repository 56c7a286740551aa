"""A response as its events so far describe it: for one that was cut off, and for a stream that another step goes on with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import jiter

from webapp.patterns.types import Json

EVENT_END: Final = b"\n\n"
_DATA: Final = b"data:"
LIFECYCLE: Final = frozenset(
    {
        "response.created", "response.queued", "response.in_progress", "response.completed", "response.incomplete", "response.failed",
        "response.cancelled",
    }
)  # fmt: skip
"""Events that carry the whole response."""
FINAL: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled", "error"})


def events_in(raw: bytes) -> Iterable[Json]:
    """Yield the events in whole server-sent events, decoded; comments and `[DONE]` are passed over."""
    for event in raw.split(EVENT_END):
        data = data_of(event)
        if data is not None:
            yield data


def data_of(event: bytes) -> Json | None:
    """Return the JSON object in one server-sent event; None where it holds none."""
    lines = [line[len(_DATA) :].strip() for line in event.split(b"\n") if line.startswith(_DATA)]
    try:
        decoded = jiter.from_json(b"\n".join(lines))
    except ValueError:
        return None
    return decoded if isinstance(decoded, dict) else None


class Snapshot:
    """The response object, kept up to date event by event.

    Attributes:
        response: the response; its `output` holds finished and unfinished items by their index.
        sequence: the number of the next event.
    """

    def __init__(self, response: Json | None = None) -> None:
        self.response: Json = response or {"output": []}
        self.sequence = 0
        self._items: dict[int, Json] = {}

    @classmethod
    def of(cls, raws: Iterable[bytes], response: Json | None = None) -> Snapshot:
        """Return the snapshot after all events in `raws`."""
        snapshot = cls(response)
        for raw in raws:
            for event in events_in(raw):
                snapshot.apply(event)
        return snapshot

    @property
    def output(self) -> list[Json]:
        """Return the items so far, in their order."""
        return [item for _, item in sorted(self._items.items())]

    @property
    def has_output(self) -> bool:
        """Return whether any item has begun."""
        return bool(self._items)

    def apply(self, event: Json) -> None:
        """Take in one event."""
        number = event.get("sequence_number")
        if isinstance(number, int):
            self.sequence = number + 1
        kind = event.get("type")
        if kind in LIFECYCLE and isinstance(event.get("response"), dict):
            self.response = event["response"]
            if kind in FINAL:
                self._items = dict(enumerate(self.response.get("output") or ()))
        elif kind in {"response.output_item.added", "response.output_item.done"}:
            self._items[event["output_index"]] = dict(event["item"])
        else:
            self._change(str(kind), event)

    @property
    def next_item(self) -> int:
        """Return the index after the last item's."""
        return max(self._items, default=-1) + 1

    def add_last_text(self, text: str) -> None:
        """Add to the last part of the last message, without its event."""
        item = self._items.get(self.next_item - 1)
        if item and item.get("content"):
            _grow(item["content"][-1], "text", text)

    def _change(self, kind: str, event: Json) -> None:
        item = self._items.get(event.get("output_index", -1))
        if item is None:
            return
        match kind:
            case "response.content_part.added" | "response.content_part.done":
                _put(item.setdefault("content", []), event["content_index"], dict(event["part"]))
            case "response.reasoning_summary_part.added" | "response.reasoning_summary_part.done":
                _put(item.setdefault("summary", []), event["summary_index"], dict(event["part"]))
            case "response.output_text.delta" | "response.reasoning_text.delta":
                _grow(_at(item.get("content"), event["content_index"]), "text", event["delta"])
            case "response.output_text.annotation.added":
                if part := _at(item.get("content"), event["content_index"]):
                    _put(part.setdefault("annotations", []), event["annotation_index"], dict(event["annotation"]))
            case "response.refusal.delta":
                _grow(_at(item.get("content"), event["content_index"]), "refusal", event["delta"])
            case "response.reasoning_summary_text.delta":
                _grow(_at(item.get("summary"), event["summary_index"]), "text", event["delta"])
            case "response.function_call_arguments.delta" | "response.mcp_call_arguments.delta":
                _grow(item, "arguments", event["delta"])
            case "response.custom_tool_call_input.delta":
                _grow(item, "input", event["delta"])

    def settle_items(self) -> list[Json]:
        """Return the items so far; those that were not finished are marked incomplete."""
        for item in self._items.values():
            if item.get("status") in {"in_progress", "searching", "calling"}:
                item["status"] = "incomplete"
        return self.output


def _at(parts: Any, index: int) -> Json | None:
    return parts[index] if isinstance(parts, list) and 0 <= index < len(parts) else None


def _put(parts: list[Json], index: int, part: Json) -> None:
    if index < len(parts):
        parts[index] = part
    else:
        parts.append(part)


def _grow(target: Json | None, name: str, delta: Any) -> None:
    if target is not None and isinstance(delta, str):
        target[name] = str(target.get(name) or "") + delta
