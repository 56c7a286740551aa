"""Turn a tool server's results into bounded text."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from webapp.patterns.agent.tools import as_text
from webapp.patterns.mcp.types import CallResult
from webapp.patterns.sanitize import clean

if TYPE_CHECKING:
    from mcp_types import CallToolResult

MAX_ITEMS = 100
"""Content items of one result that are read."""


def call_result(result: CallToolResult, limit: int) -> CallResult:
    """Return the text of a result, at most `limit` characters of it.

    Images, audio and binary resources become a note of their kind and size.
    """
    parts = [_item_text(item) for item in result.content[:MAX_ITEMS]]
    if len(result.content) > MAX_ITEMS:
        parts.append(f"[{len(result.content) - MAX_ITEMS} more items are not shown]")
    if not any(parts) and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    text = as_text(clean("\n\n".join(part for part in parts if part)), limit=limit)
    return CallResult(text or "[The tool returned nothing.]", result.is_error, result.structured_content)


def _item_text(item: Any) -> str:
    match item.type:
        case "text":
            return str(item.text)
        case "image" | "audio":
            return f"[{item.type}: {item.mime_type}, {_size(item.data)}]"
        case "resource_link":
            return f"[resource: {item.name}, {item.uri}]"
        case "resource":
            return _resource_text(item.resource)
        case _:
            return f"[{item.type}]"


def _resource_text(resource: Any) -> str:
    text = getattr(resource, "text", None)
    if text is not None:
        return f"[resource: {resource.uri}]\n{text}"
    return f"[resource: {resource.uri}, {resource.mime_type or 'binary'}, {_size(resource.blob)}]"


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4:,} bytes"
