"""Claude: conversations with a list of `chat_messages`."""

from __future__ import annotations

from django.utils.translation import gettext as _

from chat.transfer.conversations import (
    Imported,
    Json,
    Node,
    Part,
    Unreadable,
    build_tree,
    json_text,
    list_of,
    named,
    object_of,
    objects_of,
    reasoning_part,
    text_of,
    text_part,
    time_of,
)
from chat.transfer.export_attachments import Archive, Enclosed, from_text
from chat.transfer.markup import tool_parts, with_artifacts_as_code

NAME = "Claude's (chat_messages)"


def matches(entry: Json) -> bool:
    """Return whether this is a conversation of Claude."""
    return isinstance(entry.get("chat_messages"), list)


def parse(entry: Json, _archive: Archive) -> Imported:
    """Return the conversation. Older exports do not name parents: their messages follow each other."""
    messages = list_of(entry["chat_messages"])
    if not all(isinstance(message, dict) for message in messages):
        raise Unreadable(_("A message is not an object."))
    keys = [text_of(message.get("uuid")) or str(number) for number, message in enumerate(messages)]
    before = dict(zip(keys[1:], keys, strict=False))
    nodes = {key: _node(message, before.get(key)) for key, message in zip(keys, messages, strict=True)}
    turns, nearest = build_tree(nodes)
    leaf = nearest.get(text_of(entry.get("current_leaf_message_uuid"))) or (nearest[keys[-1]] if keys else None)
    at = time_of(entry.get("updated_at")) or time_of(entry.get("created_at"))
    return Imported(text_of(entry.get("uuid")), text_of(entry.get("name")), turns, leaf, at, pinned=entry.get("is_starred") is True)


def _node(message: Json, before: str | None) -> Node:
    parent = message.get("parent_message_uuid")
    role = {"human": "user", "assistant": "assistant"}.get(text_of(message.get("sender")), "")
    return Node(
        parent=parent if isinstance(parent, str) else before,
        role=role,
        parts=_parts(message) if role == "assistant" else [text_part(_question(message))],
        at=time_of(message.get("created_at")),
        files=[] if role == "assistant" else _files(message),
    )


def _question(message: Json) -> str:
    texts = [text_of(block.get("text")) for block in objects_of(message.get("content")) if block.get("type") == "text"]
    return "\n\n".join(filter(None, texts)) or text_of(message.get("text"))


def _parts(message: Json) -> list[Part]:
    blocks = objects_of(message.get("content"))
    results = {text_of(block.get("tool_use_id")): _result(block) for block in blocks if block.get("type") == "tool_result"}
    parts: list[Part] = []
    for block in blocks:
        kind = block.get("type")
        if kind == "text":
            parts.append(text_part(with_artifacts_as_code(text_of(block.get("text")))))
        elif kind == "thinking":
            parts.append(reasoning_part(text_of(block.get("thinking"))))
        elif kind == "tool_use":
            parts += tool_parts([block], results)
    if any(part["kind"] == "text" and part["text"].strip() for part in parts):
        return parts
    return [*parts, text_part(with_artifacts_as_code(text_of(message.get("text"))))]


def _result(block: Json) -> tuple[str, bool]:
    content = block.get("content")
    texts = [text_of(item.get("text")) for item in objects_of(content)]
    return "\n\n".join(filter(None, texts)) or json_text(content), block.get("is_error") is True


def _files(message: Json) -> list[tuple[str, Enclosed | None]]:
    """Return the files of a question: of documents, the export holds the text."""
    attachments = objects_of(message.get("attachments"))
    found = [_attachment(file) for file in attachments]
    known = {text_of(file.get("file_name")) for file in attachments}
    others = {named(file) for file in objects_of(message.get("files")) + objects_of(message.get("files_v2"))}
    return [*found, *((name, None) for name in sorted(others - known))]


def _attachment(file: Json) -> tuple[str, Enclosed | None]:
    name = text_of(file.get("file_name")) or "pasted.txt"
    content = text_of(object_of(file).get("extracted_content"))
    return name, from_text(content, name) if content else None
