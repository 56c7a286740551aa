"""Convert between stored messages and the API's messages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from chat import selectors, uploads
from chat.models import Conversation
from chat.models import Message as Stored
from webapp.patterns.agent.tool_images import images_message
from webapp.patterns.images import Image
from webapp.patterns.types import Message

GO_ON = "Continue exactly where you stopped. Do not repeat anything you have written, and do not comment on this."


def load(conversation: Conversation, answer: Stored, question: Stored | None = None) -> tuple[list[Message], list[UUID | None]]:
    """Return the API messages up to an answer (with its existing parts, if it is continued), and the stored message of each.

    Args:
        question: the question of the answer if it was just stored. Nothing is read where it is the conversation's first.
    """
    if question is not None and question.parent_id is None:
        ids, found = [question.id], {question.id: question}
    else:
        ids = selectors.path_ids(conversation.id, answer.parent_id)
        found = {message.id: message for message in Stored.objects.filter(id__in=ids).defer("html", "trail")}
    messages: list[Message] = []
    origins: list[UUID | None] = []
    if conversation.system_prompt.strip():
        messages.append({"role": "system", "content": conversation.system_prompt})
        origins.append(None)
    for id_ in ids:
        new = api_messages(found[id_])
        messages += new
        origins += [id_] * len(new)
    if answer.parts:
        new = [*of_answer(answer.parts), {"role": "user", "content": GO_ON}]
        messages += new
        origins += [None] * len(new)
    return messages, origins


def api_messages(message: Stored) -> list[Message]:
    """Return a stored message as API messages: an answer with tool calls becomes several."""
    if message.role == Stored.Role.ASSISTANT:
        return of_answer(message.parts)
    return [{"role": "user", "content": _content(message)}]


def _content(message: Stored) -> str | list[dict[str, Any]]:
    images = [item for item in message.attachments if item["kind"] == "image"]
    texts = [uploads.text_of(item) for item in message.attachments if item["kind"] != "image"]
    text = "\n\n".join([*texts, message.text])
    if not images:
        return text
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}] if text else []
    return parts + [_image(item) for item in images]


def _image(item: dict[str, Any]) -> dict[str, Any]:
    url = _image_url(item)
    return {"type": "image_url", "image_url": {"url": url}} if url else {"type": "text", "text": uploads.gone(item)}


def _image_url(item: dict[str, Any]) -> str:
    """Return a stored image as a `data:` address; empty where its bytes are lost."""
    data = uploads.bytes_of(item)
    return "" if data is None else Image(item["type"], data).url


def of_answer(parts: Sequence[dict[str, Any]]) -> list[Message]:
    """Return an answer's parts as assistant and tool messages, without reasoning."""
    messages: list[Message] = []
    text: list[str] = []
    calls: list[dict[str, Any]] = []

    def close() -> None:
        if not text and not calls:
            return
        message: Message = {"role": "assistant", "content": "\n\n".join(text) or None}
        if calls:
            message["tool_calls"] = [_call(part) for part in calls]
        messages.append(message)
        messages.extend({"role": "tool", "tool_call_id": part["id"], "content": _result(part)} for part in calls)
        if shown := images_message(url for part in calls for item in part.get("images") or () if (url := _image_url(item))):
            messages.append(shown)
        text.clear()
        calls.clear()

    for part in parts:
        if part["kind"] == "text":
            if calls:
                close()
            text.append(part["text"])
        elif part["kind"] == "tool" and not part.get("imported"):  # the tools of another product are unknown here
            calls.append(part)
    close()
    return messages


def _call(part: dict[str, Any]) -> dict[str, Any]:
    return {"id": part["id"], "type": "function", "function": {"name": part["name"], "arguments": part["arguments"]}}


def _result(part: dict[str, Any]) -> str:
    return str(part.get("result") or part.get("error") or "[no result]")
