"""Imported conversations, and the parts from which each format builds them.

Exports are read defensively: a field of an unexpected type counts as missing, and a conversation that makes no sense is an `Unreadable`.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from django.utils.translation import gettext as _

from chat.html.answer_html import split_reasoning
from chat.transfer.export_attachments import Enclosed
from webapp.patterns import sanitize

MAX_TEXT = 1_000_000
MAX_CARRIED = 200
"""Reasoning and tool calls before an answer that are kept with it."""

Json = dict[str, Any]
Part = dict[str, Any]
"""Text, reasoning or a tool call, as `chat.models.Message.parts` keeps them."""


class Unreadable(Exception):
    """The file or conversation cannot be imported; the text says why."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A question or an answer. `parent` is the key of the turn before it, None for a first question."""

    key: str
    parent: str | None
    role: str
    text: str
    model: str
    at: datetime | None
    files: tuple[Enclosed, ...] = ()
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class Imported:
    """A conversation: its turns, parents first, and the key of the end of the branch on show."""

    source: str
    title: str
    turns: list[Turn]
    leaf: str | None
    at: datetime | None
    pinned: bool = False
    archived: bool = False
    system_prompt: str = ""


@dataclass(slots=True)
class Node:
    """A message of an export before the tree is built.

    `role` is "user" or "assistant". A node without text and files is passed over; its `parts` go to the next answer after it (reasoning and
    tool calls are messages of their own in some exports).
    """

    parent: str | None
    role: str = ""
    parts: Sequence[Part] = ()
    model: str = ""
    at: datetime | None = None
    files: Sequence[tuple[str, Enclosed | None]] = ()
    """Name and content; no content where the export does not hold the file."""


def text_part(text: str) -> Part:
    """Return text as a part."""
    return {"kind": "text", "text": text_of(text)}


def reasoning_part(text: str, seconds: float | None = None) -> Part:
    """Return reasoning as a part, with how long it took where that is known."""
    part: Part = {"kind": "reasoning", "text": text_of(text)}
    return part if seconds is None else {**part, "ms": round(seconds * 1000)}


def tool_part(id_: str, name: str, arguments: str, result: str, *, error: str = "") -> Part:
    """Return a tool call that is over. It is shown, but not sent to a model: no server here knows the tool."""
    return {
        "kind": "tool",
        "id": text_of(id_) or "imported",
        "name": text_of(name)[:100] or "tool",
        "arguments": text_of(arguments),
        "state": "failed" if error else "done",
        "result": text_of(result),
        "error": text_of(error),
        "ms": None,
        "imported": True,
    }


def left_out(names: Sequence[str]) -> str:
    """Return a line that names the files of a message that were not imported."""
    return f"\n\n(Not imported: {', '.join(names)})" if names else ""


def build_tree(nodes: Mapping[str, Node]) -> tuple[list[Turn], dict[str, str | None]]:
    """Return the turns, parents first, and for each node the turn that it is or that comes before it."""
    children: dict[str | None, list[str]] = defaultdict(list)
    for key, node in nodes.items():
        children[node.parent if node.parent in nodes else None].append(key)
    turns: list[Turn] = []
    nearest: dict[str, str | None] = {}
    waiting: list[tuple[str, str | None, list[Part]]] = [(key, None, []) for key in children[None]]
    for key, before, carried in waiting:  # it grows in the loop: breadth first, in the file's order
        node = nodes[key]
        turn = _turn(key, before, node, carried)
        if turn:
            turns.append(turn)
        nearest[key] = key if turn else before
        rest = [] if turn else [*carried, *(part for part in node.parts if part["kind"] != "text")]
        waiting += [(child, nearest[key], rest[-MAX_CARRIED:]) for child in children[key]]
    if len(nearest) < len(nodes):
        raise Unreadable(_("Its messages form a circle."))
    return turns, nearest


def _turn(key: str, before: str | None, node: Node, carried: Sequence[Part]) -> Turn | None:
    if node.role == "user":
        return _question(key, before, node)
    return _answer(key, before, node, carried) if node.role == "assistant" else None


def _question(key: str, before: str | None, node: Node) -> Turn | None:
    files = tuple(file for _, file in node.files if file)
    missing = left_out([name for name, file in node.files if not file])
    text = _checked("\n\n".join(part["text"] for part in node.parts if part["kind"] == "text" and part["text"]) + missing)
    return Turn(key, before, node.role, text, node.model[:300], node.at, files) if text or files else None


def _answer(key: str, before: str | None, node: Node, carried: Sequence[Part]) -> Turn | None:
    """Only questions have files: those of an answer are named in its text."""
    missing = left_out([name for name, _ in node.files]).strip()
    parts = split_reasoning([*node.parts, *([text_part(missing)] if missing else [])])
    parts = [part for part in parts if part["kind"] == "tool" or part["text"].strip()]
    text = _checked("\n\n".join(part["text"].strip() for part in parts if part["kind"] == "text"))
    if not text:
        return None
    return Turn(key, before, node.role, text, node.model[:300], node.at, parts=(*carried, *parts))


def _checked(text: str) -> str:
    if len(text) > MAX_TEXT:
        raise Unreadable(_("It has a message of more than %(n)s characters.") % {"n": f"{MAX_TEXT:,}"})
    return text.strip()


def named(file: Json) -> str:
    """Return the name of a file, or words that say what it is."""
    name = text_of(file.get("name") or file.get("file_name") or file.get("filename"))
    kind = text_of(file.get("type") or file.get("mime_type") or file.get("content_type"))
    return name or ("picture" if "image" in kind else "recording" if "audio" in kind or "video" in kind else "file")


def object_of(value: object) -> Json:
    """Return an object, an empty one for any other value."""
    return value if isinstance(value, dict) else {}


def objects_of(value: object) -> list[Json]:
    """Return the objects of a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def list_of(value: object) -> list[Any]:
    """Return a list, an empty one for any other value."""
    return value if isinstance(value, list) else []


def key_of(value: object) -> str | None:
    """Return the key of another message; None where there is none."""
    return value if isinstance(value, str) else None


def text_of(value: object) -> str:
    """Return text that every database stores: without NUL and half characters."""
    return sanitize.text(value) if isinstance(value, str) else ""


def json_text(value: object) -> str:
    """Return a text as it is, and other JSON as text."""
    return text_of(value) if isinstance(value, str) else "" if value is None else text_of(json.dumps(value, ensure_ascii=False))


def time_of(value: object) -> datetime | None:
    """Return a time that is ISO 8601, or seconds, milli-, micro- or nanoseconds since the epoch."""
    if isinstance(value, str):
        return _moment(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not 0 < value < 10**20:
        return None
    seconds = float(value)
    while seconds > 1e11:
        seconds /= 1000
    return datetime.fromtimestamp(seconds, UTC)


def _moment(text: str) -> datetime | None:
    try:
        found = datetime.fromisoformat(text)
        return found.astimezone(UTC) if found.tzinfo else None
    except (ValueError, OverflowError):
        return None
