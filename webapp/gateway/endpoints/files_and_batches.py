"""Serve files and batches: validate here, and call the handlers registered in `webapp.ports.files_and_batches`."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Literal
from urllib.parse import quote

from webapp.gateway.auth import Principal
from webapp.gateway.bodies import read_json
from webapp.gateway.http import Call
from webapp.gateway.idempotency import fingerprint_of, once
from webapp.gateway.uploads import uploaded
from webapp.patterns.errors import InputError
from webapp.patterns.openai.json_rules import Choice, String
from webapp.patterns.types import Json
from webapp.ports import files_and_batches, vector_stores
from webapp.ports.files_and_batches import ApiError, Caller, Page
from webapp.ports.vector_stores import DocumentFilesApi

MAX_FILES_LISTED = 10_000
MAX_BATCHES_LISTED = 100
DEFAULT_BATCHES_LISTED = 20
ID = re.compile(r"[A-Za-z0-9_.:-]{1,200}")
PURPOSES = Choice(("assistants", "batch", "fine-tune", "vision", "user_data", "evals"))


async def create_file(call: Call, principal: Principal) -> None:
    """POST files: a multipart form."""
    served = files_and_batches.files()
    async with uploaded(call) as form:
        purpose = form.fields.pop("purpose", None)
        if purpose is None:
            raise InputError("Missing required parameter: 'purpose'.", param="purpose", code="missing_required_parameter")
        PURPOSES.check(purpose, "purpose")

        async def work(caller: Caller) -> Json:
            return await served.create(caller, form.upload, purpose=purpose, fields=form.fields)

        await call.respond_json(await once(call, principal, f"{purpose}{form.fingerprint}"[-64:], work))


async def list_files(call: Call, principal: Principal) -> None:
    """GET files."""
    page = page_of(call, most=MAX_FILES_LISTED, default=MAX_FILES_LISTED, filters=("purpose",))
    await call.respond_json(await files_and_batches.files().list(principal.caller, page))


async def retrieve_file(call: Call, principal: Principal, name: str) -> None:
    """GET files/{id}."""
    file_id = _id("file", name)
    try:
        found = await files_and_batches.files().retrieve(principal.caller, file_id)
    except ApiError as error:
        found = await _documents(principal, error).retrieve(principal.caller, file_id)
    await call.respond_json(found)


def _documents(principal: Principal, error: ApiError) -> DocumentFilesApi:
    """Return the handlers of documents for a file that does not exist. Citations name documents that were added in the browser, too.

    Raises:
        ApiError: `error`, if it says something else, or the token may not read documents.
    """
    if error.status != HTTPStatus.NOT_FOUND or "search" not in principal.scopes:
        raise error
    return vector_stores.handlers().documents


async def delete_file(call: Call, principal: Principal, name: str) -> None:
    """DELETE files/{id}."""
    await call.respond_json(await files_and_batches.files().delete(principal.caller, _id("file", name)))


async def file_content(call: Call, principal: Principal, name: str) -> None:
    """GET files/{id}/content: the bytes, as an attachment that no browser runs."""
    file_id = _id("file", name)
    try:
        content = await files_and_batches.files().content(principal.caller, file_id)
    except ApiError as error:
        content = await _documents(principal, error).content(principal.caller, file_id)
    headers = {
        "content-type": content.content_type,
        "content-disposition": f"attachment; filename*=UTF-8''{quote(content.filename, safe='')}",
    }
    if content.size is not None:
        headers["content-length"] = str(content.size)
    async with call.abandoned_when_gone():
        await call.start(200, headers)
        if call.method != "HEAD":
            async for chunk in content.chunks:
                await call.send(chunk)
        await call.end()


async def create_batch(call: Call, principal: Principal) -> None:
    """POST batches."""
    served = files_and_batches.batches()
    body = await read_json(call)

    async def work(caller: Caller) -> Json:
        return await served.create(caller, body)

    await call.respond_json(await once(call, principal, fingerprint_of(body), work))


async def list_batches(call: Call, principal: Principal) -> None:
    """GET batches."""
    page = page_of(call, most=MAX_BATCHES_LISTED, default=DEFAULT_BATCHES_LISTED)
    await call.respond_json(await files_and_batches.batches().list(principal.caller, page))


async def retrieve_batch(call: Call, principal: Principal, name: str) -> None:
    """GET batches/{id}."""
    await call.respond_json(await files_and_batches.batches().retrieve(principal.caller, _id("batch", name)))


async def cancel_batch(call: Call, principal: Principal, name: str) -> None:
    """POST batches/{id}/cancel."""
    await call.respond_json(await files_and_batches.batches().cancel(principal.caller, _id("batch", name)))


def _id(kind: str, name: str) -> str:
    """Return a well-formed id; anything else is a 404."""
    if not ID.fullmatch(name):
        raise files_and_batches.not_found(kind, name[:200])
    return name


def page_of(call: Call, *, most: int, default: int, least: int = 1, filters: tuple[str, ...] = ()) -> Page:
    """Return the part of the list that the query asks for, at most `most` entries; raise `InputError`."""
    query = call.query()
    limit = query.get("limit", str(default))
    if not limit.isascii() or not limit.isdigit() or not least <= int(limit[:9]) <= most:
        raise InputError(f"Invalid 'limit': expected an integer from {least} to {most}.", param="limit", code="invalid_value")
    order = query.get("order", "desc")
    Choice(("asc", "desc")).check(order, "order")
    after, before = query.get("after") or None, query.get("before") or None
    String(most=200).check(after or "", "after")
    String(most=200).check(before or "", "before")
    wanted: Literal["asc", "desc"] = "asc" if order == "asc" else "desc"
    chosen = {name: query[name] for name in filters if query.get(name)}
    return Page(limit=int(limit), after=after, before=before, order=wanted, filters=chosen)
