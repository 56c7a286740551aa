"""LibreChat: one conversation, its `messages` as a list or, exported recursively, as a tree."""

from __future__ import annotations

from chat.transfer.conversations import (
    Imported,
    Json,
    Node,
    Part,
    build_tree,
    json_text,
    key_of,
    named,
    object_of,
    objects_of,
    reasoning_part,
    text_of,
    text_part,
    time_of,
    tool_part,
)
from chat.transfer.export_attachments import Archive
from chat.transfer.markup import split_thinking_fences, without_citations

NAME = "LibreChat's (conversationId)"


def matches(entry: Json) -> bool:
    """Return whether this is a conversation of LibreChat."""
    return "conversationId" in entry and any(isinstance(entry.get(name), list) for name in ("messages", "messagesTree"))


def parse(entry: Json, _archive: Archive) -> Imported:
    """Return the conversation with the branches that the export holds."""
    messages = _flat(objects_of(entry.get("messagesTree")) or objects_of(entry.get("messages")))
    keys = [text_of(message.get("messageId")) or str(number) for number, message in enumerate(messages)]
    nodes = {key: _node(message) for key, message in zip(keys, messages, strict=True)}
    turns, nearest = build_tree(nodes)
    options = object_of(entry.get("options"))
    prompt = text_of(options.get("promptPrefix") or options.get("system"))
    at = time_of(entry.get("updatedAt")) or time_of(messages[-1].get("createdAt") if messages else None)
    leaf = nearest[keys[-1]] if keys else None
    return Imported(text_of(entry.get("conversationId")), text_of(entry.get("title")), turns, leaf, at, system_prompt=prompt)


def _flat(messages: list[Json]) -> list[Json]:
    """Return the messages of a tree, parents first."""
    found = list(messages)
    for message in found:  # it grows in the loop
        found += [{"parentMessageId": message.get("messageId"), **child} for child in objects_of(message.get("children"))]
    return found


def _node(message: Json) -> Node:
    asks = message.get("isCreatedByUser") is True or text_of(message.get("sender")).lower() == "user"
    files = [(named(file), None) for file in objects_of(message.get("files"))]
    return Node(
        parent=key_of(message.get("parentMessageId")),
        role="user" if asks else "assistant",
        parts=_parts(message),
        model="" if asks else text_of(message.get("model")),
        at=time_of(message.get("createdAt")),
        files=files,
    )


def _parts(message: Json) -> list[Part]:
    parts = [part for block in objects_of(message.get("content")) for part in _block(block)]
    if not any(part["kind"] == "text" and part["text"].strip() for part in parts):
        parts += split_thinking_fences(text_of(message.get("text")))
    return [{**part, "text": without_citations(part["text"])} if part["kind"] == "text" else part for part in parts]


def _block(block: Json) -> list[Part]:
    kind = block.get("type")
    if kind == "text":
        text = block.get("text")
        return [text_part(text_of(object_of(text).get("value")) or text_of(text))]
    if kind == "think":
        return [reasoning_part(text_of(object_of(block.get("think")).get("value")) or text_of(block.get("think")))]
    if kind == "tool_call":
        call = object_of(block.get("tool_call"))
        function = object_of(call.get("function"))
        name = text_of(call.get("name")) or text_of(function.get("name"))
        arguments = json_text(call.get("args") if "args" in call else function.get("arguments"))
        output = json_text(call.get("output") if "output" in call else function.get("output"))
        return [tool_part(text_of(call.get("id")), name, arguments, output)]
    if kind == "error":
        return [text_part(f"(Error: {json_text(block.get('error'))})")]
    return []
