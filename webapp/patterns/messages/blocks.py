"""Translate Anthropic's content blocks to the content parts of chat completions."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from webapp.patterns.errors import InputError
from webapp.patterns.types import Json

Block = Mapping[str, Any]


def as_blocks(content: Any) -> list[Json]:
    """Return content as a list of blocks; a string is one text block."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content or () if isinstance(block, dict)]


def as_content(parts: Sequence[Json]) -> str | list[Json]:
    """Return the parts of a chat message; texts alone become one string, which every server takes."""
    if all(part["type"] == "text" for part in parts):
        return "\n\n".join(part["text"] for part in parts)
    return list(parts)


def as_parts(blocks: Iterable[Block]) -> list[Json]:
    """Return the content parts that say the same as the blocks.

    Raises:
        InputError: a picture or a document comes from a source that no chat server can read.
    """
    return [part for block in blocks for part in _parts(block)]


def _parts(block: Block) -> list[Json]:
    match block.get("type"):
        case "text":
            return [_text(block["text"])]
        case "image":
            return [_image(block["source"])]
        case "document":
            return _document(block)
        case "search_result":
            return [_text(_search_result(block))]
        case "thinking" | "redacted_thinking" | "cache_control" | "container_upload":
            return []
        case "tool_reference":
            return [_text(f"Tool available: {block.get('tool_name', '')}")]
        case _:
            return [_text(_foreign(block))]


def _text(text: str) -> Json:
    return {"type": "text", "text": text}


def _foreign(block: Block) -> str:
    """Return a block of an unknown kind (the record of a tool that Anthropic ran, for instance) as JSON, so that its text is not lost."""
    return json.dumps({name: value for name, value in block.items() if name != "cache_control"}, ensure_ascii=False)


def _image(source: Mapping[str, Any]) -> Json:
    match source["type"]:
        case "base64":
            url = f"data:{source.get('media_type') or 'image/png'};base64,{source.get('data') or ''}"
        case "url":
            url = str(source.get("url") or "")
        case kind:
            raise InputError(
                f"An image with a source of type {kind!r} cannot be passed on: send its data or its address.", param="messages"
            )
    return {"type": "image_url", "image_url": {"url": url}}


def _document(block: Block) -> list[Json]:
    source, title = block["source"], str(block.get("title") or "")
    heading = "\n".join(filter(None, [title and f"Document: {title}", str(block.get("context") or "")]))
    match source["type"]:
        case "text":
            return [_text("\n".join(filter(None, [heading, str(source.get("data") or "")])))]
        case "content":
            return [*([_text(heading)] if heading else []), *as_parts(as_blocks(source.get("content")))]
        case "base64":
            kind = source.get("media_type") or "application/pdf"
            file = {"filename": title or "document.pdf", "file_data": f"data:{kind};base64,{source.get('data') or ''}"}
        case "file":
            file = {"file_id": str(source.get("file_id") or "")}
        case kind:
            raise InputError(f"A document with a source of type {kind!r} cannot be passed on: send its data.", param="messages")
    return [*([_text(heading)] if heading else []), {"type": "file", "file": file}]


def _search_result(block: Block) -> str:
    texts = "\n".join(str(part.get("text") or "") for part in block["content"])
    return "\n".join(filter(None, [str(block.get("title") or ""), str(block.get("source") or ""), texts]))
