"""Content parts of items, as parts of chat messages."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final

from webapp.patterns.types import Json

TEXT_PARTS: Final = frozenset({"input_text", "output_text", "text", "summary_text", "reasoning_text"})
TEXT_MEDIA: Final = ("text/", "application/json", "application/xml", "application/yaml", "application/x-yaml", "application/javascript")
"""Media types of files that a model reads as plain text."""


def as_parts(content: Any) -> list[Json]:
    """Return the parts of an item's content; text alone is one part."""
    if isinstance(content, str):
        return [{"type": "input_text", "text": content}]
    return [part for part in content or () if isinstance(part, dict)]


def text_of(content: Any) -> str:
    """Return the text in an item's content, refusals included."""
    if isinstance(content, str):
        return content
    return "".join(_text(part) for part in as_parts(content))


def _text(part: Json) -> str:
    kind = part.get("type")
    if kind in TEXT_PARTS:
        return str(part.get("text") or "")
    return str(part.get("refusal") or "") if kind == "refusal" else ""


def chat_content(content: Any) -> str | list[Json]:
    """Return the content of a chat message: one text where there is nothing but text, else a list of parts."""
    if isinstance(content, str):
        return content
    parts = [_chat_part(part) for part in as_parts(content)]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def images_of(content: Any) -> list[Json]:
    """Return the image parts in a tool's output, as parts of a chat message."""
    return [part for part in map(_chat_part, as_parts(content)) if part["type"] == "image_url"]


def _chat_part(part: Json) -> Json:
    match part.get("type"):
        case "input_image" | "computer_screenshot":
            return _image(part)
        case "input_file":
            return _file(part)
        case "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio") or {}}
        case kind if kind in TEXT_PARTS or kind == "refusal":
            return {"type": "text", "text": _text(part)}
        case _:
            return dict(part)


def _image(part: Json) -> Json:
    image: Json = {"url": part.get("image_url") or ""}
    if part.get("detail") in {"low", "high"}:  # "auto" is the default, and other values are unknown to chat completions
        image["detail"] = part["detail"]
    return {"type": "image_url", "image_url": image}


def _file(part: Json) -> Json:
    """Return a file as text where it is text, since few servers take files; else as a file part."""
    name, data = str(part.get("filename") or "file"), part.get("file_data")
    if isinstance(data, str) and (text := _plain_text(data)) is not None:
        return {"type": "text", "text": f"[File: {name}]\n{text}"}
    if part.get("file_url") and not data:
        return {"type": "text", "text": f"[File at {part['file_url']}]"}
    return {"type": "file", "file": {"filename": name, "file_data": data}}


def _plain_text(data: str) -> str | None:
    """Return the text in a data URL with a text media type; None for any other data."""
    head, comma, encoded = data.partition(",")
    media = head.removeprefix("data:")
    if not comma or not head.startswith("data:") or not media.startswith(TEXT_MEDIA):
        return None
    try:
        return base64.b64decode(encoded, validate=True).decode() if media.endswith(";base64") else encoded
    except (binascii.Error, UnicodeDecodeError):
        return None


def file_ids(items: Iterable[Json]) -> set[str]:
    """Return the ids of uploaded files that the content of items refers to."""
    return {str(part["file_id"]) for part in _media_parts(items) if part.get("file_id")}


def with_files(items: Iterable[Json], files: dict[str, tuple[str, str]]) -> None:
    """Put uploaded files into the parts that refer to them, in place.

    Args:
        items: input items.
        files: by file id the file's name and its data URL.
    """
    for part in _media_parts(items):
        found = files.get(str(part.get("file_id") or ""))
        if found is None:
            continue
        name, data = found
        del part["file_id"]
        part.update({"image_url": data} if part["type"] == "input_image" else {"filename": name, "file_data": data})


def _media_parts(items: Iterable[Json]) -> list[Json]:
    contents = [item.get(key) for item in items for key in ("content", "output") if isinstance(item.get(key), list)]
    return [part for content in contents for part in as_parts(content) if part.get("type") in {"input_image", "input_file"}]
