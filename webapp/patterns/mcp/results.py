"""Turn a tool server's results into bounded text."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from webapp.patterns.agent.tools import as_text
from webapp.patterns.images import Image, image_type
from webapp.patterns.mcp.types import CallResult
from webapp.patterns.sanitize import clean

if TYPE_CHECKING:
    from mcp_types import CallToolResult

MAX_ITEMS = 100
"""Content items of one result that are read."""
MAX_IMAGES = 4
MAX_IMAGE_BYTES = 5 * 1024 * 1024
"""The largest image that a result may hold: Anthropic's servers take no larger one."""


def call_result(result: CallToolResult, limit: int) -> CallResult:
    """Return the text of a result, at most `limit` characters of it.

    Images, audio and binary resources become a note of their kind and size. The first `MAX_IMAGES` images are kept beside the text.
    """
    parts = [_item_text(item) for item in result.content[:MAX_ITEMS]]
    if len(result.content) > MAX_ITEMS:
        parts.append(f"[{len(result.content) - MAX_ITEMS} more items are not shown]")
    if not any(parts) and result.structured_content is not None:
        parts = [json.dumps(result.structured_content, ensure_ascii=False)]
    text = as_text(clean("\n\n".join(part for part in parts if part)), limit=limit)
    return CallResult(text or "[The tool returned nothing.]", result.is_error, result.structured_content, _images(result))


def _images(result: CallToolResult) -> tuple[Image, ...]:
    """Return the images of a result that a page and a model can show. Their bytes say what they are, not the server."""
    encoded = [data for item in result.content[:MAX_ITEMS] if (data := _encoded_image(item))]
    images = [image for data in encoded if (image := _image(data))]
    return tuple(images[:MAX_IMAGES])


def _encoded_image(item: Any) -> str:
    if item.type == "image":
        return str(item.data)
    is_image = item.type == "resource" and str(item.resource.mime_type or "").startswith("image/")
    return str(getattr(item.resource, "blob", None) or "") if is_image else ""


def _image(encoded: str) -> Image | None:
    if len(encoded) > MAX_IMAGE_BYTES * 4 // 3 + 4:
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:  # the text says that there was an image
        return None
    kind = image_type(data)
    return Image(kind, data) if kind else None


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


def _size(encoded: str) -> str:
    return f"{len(encoded) * 3 // 4 - encoded[-2:].count('='):,} bytes"
