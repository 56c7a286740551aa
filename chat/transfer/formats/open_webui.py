"""Open WebUI: entries with a `chat`, whose `history.messages` are a tree, or whose `messages` are a list in older exports."""

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
    text_of,
    text_part,
    time_of,
)
from chat.transfer.export_attachments import Archive, Enclosed, from_data_url, from_text
from chat.transfer.markup import split_details, without_citations

NAME = "Open WebUI's (chat)"


def matches(entry: Json) -> bool:
    """Return whether this is a conversation of Open WebUI."""
    return isinstance(entry.get("chat"), dict)


def parse(entry: Json, _archive: Archive) -> Imported:
    """Return the conversation with all its branches."""
    chat: Json = entry["chat"]
    history = object_of(chat.get("history"))
    messages = _messages(chat, history)
    turns, nearest = build_tree({key: _node(message) for key, message in messages.items()})
    leaf = nearest.get(str(history.get("currentId"))) or (nearest[list(messages)[-1]] if messages else None)
    at = time_of(entry.get("updated_at")) or time_of(chat.get("timestamp"))
    pinned, archived = entry.get("pinned") is True, entry.get("archived") is True
    title = text_of(entry.get("title") or chat.get("title"))
    prompt = text_of(object_of(chat.get("params")).get("system"))
    return Imported(text_of(entry.get("id")), title, turns, leaf, at, pinned, archived, prompt)


def _messages(chat: Json, history: Json) -> dict[str, Json]:
    found: Any = history.get("messages")
    if not isinstance(found, dict):
        listed = objects_of(chat.get("messages"))
        if not listed:
            raise Unreadable(_("It has no history.messages."))
        keys = [text_of(message.get("id")) or str(number) for number, message in enumerate(listed)]
        return {key: {"parentId": before, **message} for key, before, message in zip(keys, [None, *keys], listed, strict=False)}
    if not all(isinstance(message, dict) for message in found.values()):
        raise Unreadable(_("A message is not an object."))
    return found


def _node(message: Json) -> Node:
    role = text_of(message.get("role"))
    files = [_file(file) for file in objects_of(message.get("files"))]
    content = message.get("content")
    blocks = list_of(content)
    files += [_file({"type": "image", **object_of(block["image_url"])}) for block in objects_of(blocks) if "image_url" in block]
    text = "\n\n".join(filter(None, map(_block_text, blocks))) if blocks else text_of(content)
    return Node(
        parent=key_of(message.get("parentId")),
        role=role,
        parts=_parts(text) if role == "assistant" else [text_part(text)],
        model=text_of(message.get("model")),
        at=time_of(message.get("timestamp")),
        files=files,
    )


def _parts(text: str) -> list[Part]:
    return [text_part(without_citations(part["text"])) if part["kind"] == "text" else part for part in split_details(text)]


def _block_text(block: object) -> str:
    return text_of(block) if isinstance(block, str) else text_of(object_of(block).get("text"))


def _file(file: Json) -> tuple[str, Enclosed | None]:
    """Return a file: pictures come whole, in their address; of documents only the text that was read."""
    name = named(file)
    content = text_of(object_of(object_of(file.get("file")).get("data")).get("content"))
    return name, from_text(content, name) if content else from_data_url(text_of(file.get("url")), name)
