"""ChatGPT: conversations with a `mapping` of messages by id, and files in the archive around them."""

from __future__ import annotations

from typing import Any

from django.utils.translation import gettext as _

from chat.transfer.conversations import (
    Imported,
    Json,
    Node,
    Part,
    Unreadable,
    build_tree,
    key_of,
    list_of,
    named,
    object_of,
    objects_of,
    reasoning_part,
    text_of,
    text_part,
    time_of,
    tool_part,
)
from chat.transfer.export_attachments import Archive, Enclosed, id_of
from chat.transfer.markup import without_citations

NAME = "ChatGPT's (mapping)"
_HIDDEN = {"reasoning_recap", "user_editable_context", "model_editable_context"}


def matches(entry: Json) -> bool:
    """Return whether this is a conversation of ChatGPT."""
    return isinstance(entry.get("mapping"), dict)


def parse(entry: Json, archive: Archive) -> Imported:
    """Return the conversation with all its branches."""
    mapping: Json = entry["mapping"]
    if not all(isinstance(node, dict) for node in mapping.values()):
        raise Unreadable(_("A message is not an object."))
    turns, nearest = build_tree({key: _node(node, archive) for key, node in mapping.items()})
    at = time_of(entry.get("update_time")) or time_of(entry.get("create_time"))
    leaf = nearest.get(str(entry.get("current_node")))
    source = text_of(entry.get("conversation_id") or entry.get("id"))
    return Imported(source, text_of(entry.get("title")), turns, leaf, at, archived=entry.get("is_archived") is True)


def _node(entry: Json, archive: Archive) -> Node:
    message, node = object_of(entry.get("message")), Node(key_of(entry.get("parent")))
    author, content, metadata = (object_of(message.get(name)) for name in ("author", "content", "metadata"))
    kind = content.get("content_type")
    if metadata.get("is_visually_hidden_from_conversation") or kind in _HIDDEN:
        return node
    role, recipient = author.get("role"), message.get("recipient") or "all"
    if kind == "thoughts":
        node.parts = _thoughts(content)
        return node
    if role == "assistant" and recipient != "all":
        node.parts = [tool_part(text_of(message.get("id")), text_of(recipient), _text(content), "")]
        return node
    files = _files(list_of(content.get("parts")), objects_of(metadata.get("attachments")), archive)
    if role == "tool":
        role = "assistant" if files and recipient == "all" else None  # a picture that the model made
    if role not in {"user", "assistant"}:
        return node
    node.role, node.at, node.model = role, time_of(message.get("create_time")), text_of(metadata.get("model_slug"))
    text = _text(content) if author.get("role") != "tool" else ""
    node.parts = [text_part(without_citations(text, metadata) if role == "assistant" else text)]
    node.files = list(files.values())
    return node


def _thoughts(content: Json) -> list[Part]:
    thoughts = objects_of(content.get("thoughts"))
    texts = (_thought(text_of(one.get("summary")), text_of(one.get("content"))) for one in thoughts)
    text = "\n\n".join(filter(None, texts))
    return [reasoning_part(text)] if text else []


def _thought(summary: str, content: str) -> str:
    return f"**{summary}**\n\n{content}".strip() if summary else content


def _text(content: Json) -> str:
    parts = list_of(content.get("parts"))
    return "\n\n".join(filter(None, map(_part_text, parts))) if parts else text_of(content.get("text"))


def _part_text(part: object) -> str:
    return text_of(part) if isinstance(part, str) else text_of(object_of(part).get("text"))


def _files(parts: list[Any], listed: list[Json], archive: Archive) -> dict[str, tuple[str, Enclosed | None]]:
    """Return the files of a message by their ids: those of its list, and those that only a part points at."""
    files: dict[str, tuple[str, Enclosed | None]] = {}
    for number, file in enumerate(listed):
        pointer = id_of(text_of(file.get("id")))
        files[pointer or str(number)] = (named(file), archive.find(pointer, text_of(file.get("name"))))
    for number, part in enumerate(map(object_of, parts)):
        if not part or text_of(part.get("text")):
            continue
        pointer = id_of(text_of(part.get("asset_pointer"))) or f"part-{number}"
        if pointer not in files:
            held = archive.find(pointer)
            files[pointer] = (held.name if held else named(part), held)
    return files
