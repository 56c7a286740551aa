"""The events of a response that was not streamed, made from its output."""

from __future__ import annotations

from typing import Any

from webapp.patterns.responses.encoder import sse
from webapp.patterns.types import Json


def replay(response: Json, *, after: int = -1) -> bytes:
    """Return the events that would have led to a response that has ended, those with a number above `after`."""
    events: list[Json] = []

    def emit(kind: str, **fields: Any) -> None:
        events.append({"type": kind, "sequence_number": len(events), **fields})

    unknown = dict.fromkeys(("usage", "completed_at", "error", "incomplete_details"))
    begun = {**response, **unknown, "status": "in_progress", "output": []}
    emit("response.created", response=begun)
    emit("response.in_progress", response=begun)
    for index, item in enumerate(response.get("output") or ()):
        emit("response.output_item.added", output_index=index, item=_opened(item))
        place = {"item_id": item.get("id"), "output_index": index}
        for number, part in enumerate(item.get("content") or ()):
            _replay_part(emit, part, {**place, "content_index": number})
        if item.get("type") == "function_call":
            emit("response.function_call_arguments.delta", **place, delta=item.get("arguments") or "")
            emit("response.function_call_arguments.done", **place, arguments=item.get("arguments") or "", name=item.get("name"))
        emit("response.output_item.done", output_index=index, item=item)
    status = response["status"]
    emit("response.incomplete" if status == "cancelled" else f"response.{status}", response=response)
    return b"".join(sse(event) for event in events[after + 1 :])


def _opened(item: Json) -> Json:
    """Return an item as it was when it began."""
    empty: Json = {name: value for name, value in (("content", []), ("arguments", ""), ("status", "in_progress")) if name in item}
    return {**item, **empty}


def _replay_part(emit: Any, part: Json, place: Json) -> None:
    further: Json
    match part.get("type"):
        case "output_text":
            kind, name, further = "output_text", "text", {"logprobs": []}
        case "refusal":
            kind, name, further = "refusal", "refusal", {}
        case "reasoning_text":
            kind, name, further = "reasoning_text", "text", {}
        case _:
            return
    annotations = part.get("annotations") or ()
    emit("response.content_part.added", **place, part={**part, name: "", **({"annotations": []} if annotations else {})})
    emit(f"response.{kind}.delta", **place, delta=part.get(name) or "", **further)
    for number, annotation in enumerate(annotations):
        emit("response.output_text.annotation.added", **place, annotation_index=number, annotation=annotation)
    emit(f"response.{kind}.done", **place, **{name: part.get(name) or ""}, **further)
    emit("response.content_part.done", **place, part=part)
