"""Patchbay: conversations that were exported here as JSON."""

from __future__ import annotations

from typing import Any

from chat.transfer import exports
from chat.transfer.conversations import (
    Imported,
    Json,
    Node,
    Part,
    build_tree,
    json_text,
    key_of,
    named,
    objects_of,
    reasoning_part,
    text_of,
    text_part,
    time_of,
    tool_part,
)
from chat.transfer.export_attachments import Archive, Enclosed

NAME = "Patchbay's (format)"


def matches(entry: Json) -> bool:
    """Return whether this is a conversation that was exported here."""
    return entry.get("format") == exports.FORMAT


def parse(entry: Json, _archive: Archive) -> Imported:
    """Return the conversation with all its branches."""
    messages = {text_of(message.get("id")): message for message in objects_of(entry.get("messages"))}
    turns, nearest = build_tree({key: _node(message) for key, message in messages.items()})
    leaf, at = nearest.get(str(entry.get("leaf"))), time_of(entry.get("created_at"))
    title, prompt = text_of(entry.get("title")), text_of(entry.get("system_prompt"))
    return Imported(text_of(entry.get("id")), title, turns, leaf, at, system_prompt=prompt)


def _node(message: Json) -> Node:
    files: list[tuple[str, Enclosed | None]] = [(named(file), None) for file in objects_of(message.get("attachments"))]
    parts = [part for one in objects_of(message.get("parts")) if (part := _part(one))]
    return Node(
        parent=key_of(message.get("parent")),
        role=text_of(message.get("role")),
        parts=parts or [text_part(text_of(message.get("text")))],
        model=text_of(message.get("model")),
        at=time_of(message.get("created_at")),
        files=files,
    )


def _part(part: Json) -> Part | None:
    kind, ms = part.get("kind"), part.get("ms")
    if kind == "reasoning":
        seconds: Any = ms / 1000 if isinstance(ms, int | float) else None
        return reasoning_part(text_of(part.get("text")), seconds)
    if kind == "tool":
        name, error = text_of(part.get("name")), text_of(part.get("error"))
        return tool_part(text_of(part.get("id")), name, json_text(part.get("arguments")), json_text(part.get("result")), error=error)
    return text_part(text_of(part.get("text"))) if kind == "text" else None
