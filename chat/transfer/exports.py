"""A conversation as a file."""

from __future__ import annotations

import json
from typing import Any

from chat import selectors
from chat.models import Conversation, Message

FORMAT = "patchbay-chat-1"
NAMES = {Message.Role.USER.value: "You", Message.Role.ASSISTANT.value: "Assistant"}


def as_markdown(conversation: Conversation) -> str:
    """Return the shown branch as a text to read."""
    turns = (f"## {NAMES[message.role]}\n\n{message.text}" for message in selectors.branch(conversation))
    return "\n\n".join([f"# {conversation}", *turns]) + "\n"


def as_json(conversation: Conversation) -> str:
    """Return all branches, with reasoning, tool calls and attempts."""
    messages = [_message(message) for message in conversation.messages.defer("html")]
    data = {
        "format": FORMAT,
        "id": str(conversation.id),
        "title": conversation.title,
        "model": conversation.model,
        "system_prompt": conversation.system_prompt,
        "options": conversation.options,
        "leaf": str(conversation.leaf_id) if conversation.leaf_id else None,
        "created_at": conversation.created_at.isoformat(),
        "messages": messages,
    }
    return json.dumps(data, ensure_ascii=False, indent=2)


def _message(message: Message) -> dict[str, Any]:
    return {
        "id": str(message.id),
        "parent": str(message.parent_id) if message.parent_id else None,
        "role": message.role,
        "status": message.status,
        "text": message.text,
        "parts": message.parts,
        "attachments": [{"name": item["name"], "type": item["type"]} for item in message.attachments],
        "model": message.model,
        "finish_reason": message.finish_reason,
        "error": message.error,
        "trail": message.trail,
        "created_at": message.created_at.isoformat(),
    }
