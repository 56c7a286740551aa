"""From the body of a request to a `ResponsesRequest`: the conversation before it, items it refers to, and uploaded files."""

from __future__ import annotations

import base64
from typing import Any

from webapp.core.database import in_database
from webapp.gateway.auth import Principal
from webapp.gateway.responses import lookup
from webapp.gateway.responses.prompts import with_prompt
from webapp.patterns.errors import InputError
from webapp.patterns.responses.content import file_ids, with_files
from webapp.patterns.responses.items import normalize_input
from webapp.patterns.responses.objects import conversation_id
from webapp.patterns.responses.request import ResponsesRequest, check_tool_choice
from webapp.patterns.responses.tools import FILE_SEARCH
from webapp.patterns.types import Json
from webapp.ports import files_and_batches
from webapp.ports.files_and_batches import ApiError, Caller

DEFAULT_MODEL = "default"
"""The route for requests that name no model."""
MAX_FILE_BYTES = 32 * 1024 * 1024


async def prepare(principal: Principal, body: Json) -> ResponsesRequest:
    """Return the request, ready to run.

    Raises:
        InputError: the body contradicts itself, or asks for what Patchbay does not have.
        ApiError: it names a response, conversation, item or file that the user does not have, or searches files without the scope.
    """
    _check(body)
    if any(tool.get("type") == FILE_SEARCH for tool in body.get("tools") or ()):
        principal.demand("search")
    items = normalize_input(body.get("input"))
    if body.get("prompt"):
        items = await with_prompt(principal.user, body["prompt"], items)
    before = await in_database(history, principal.user.pk, body)
    items = await _with_references(principal.user.pk, before, items)
    await _read_files(principal.caller, items)
    return ResponsesRequest(body, before, items)


def _check(body: Json) -> None:
    body["model"] = body.get("model") or DEFAULT_MODEL
    if body.get("previous_response_id") and body.get("conversation"):
        raise InputError(
            "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Give only one of them.",
            param="previous_response_id",
            code="mutually_exclusive_parameters",
        )
    if body.get("background") and body.get("store") is False:
        raise InputError("Background responses are stored: leave 'store' out, or set it to true.", param="background")
    check_tool_choice(body)


def history(user_id: int, body: Json) -> list[Json]:
    """Return the items before a request's own: of the previous responses, or of its conversation. Raise a 404 as `lookup`."""
    if previous := body.get("previous_response_id"):
        return lookup.history(user_id, previous)
    if named := conversation_id(body):
        return lookup.conversation_items(lookup.conversation(user_id, named).pk)
    return []


async def _with_references(user_id: int, before: list[Json], items: list[Json]) -> list[Json]:
    """Return the items with those that others refer to in their place; references to items of the history are left out."""
    wanted = [item["id"] for item in items if item["type"] == "item_reference"]
    if not wanted:
        return items
    known = {item.get("id") for item in before}
    found = await in_database(lookup.referenced_items, user_id, [name for name in wanted if name not in known])
    resolved: list[Json] = []
    for item in items:
        if item["type"] != "item_reference":
            resolved.append(item)
        elif item["id"] in found:
            resolved.append(found[item["id"]])
        elif item["id"] not in known:
            raise ApiError(404, f"Item with id '{item['id']}' not found.", param="input", code="item_not_found")
    return resolved


async def _read_files(caller: Caller, items: list[Json]) -> None:
    """Put uploaded files into the items that refer to them."""
    files = {identifier: await _data_url(caller, identifier) for identifier in file_ids(items)}
    if files:
        with_files(items, files)


async def _data_url(caller: Caller, file_id: str) -> tuple[str, str]:
    """Return a file's name and its content as a data URL."""
    content = await files_and_batches.files().content(caller, file_id)
    if content.size is not None and content.size > MAX_FILE_BYTES:
        raise InputError(f"File {file_id} is larger than {MAX_FILE_BYTES // 1024**2} MB, so it cannot be part of a request.", param="input")
    data = b"".join([chunk async for chunk in content.chunks])
    return content.filename, f"data:{_media_type(content)};base64,{base64.b64encode(data).decode()}"


def _media_type(content: Any) -> str:
    import mimetypes

    return mimetypes.guess_type(content.filename)[0] or str(content.content_type)
