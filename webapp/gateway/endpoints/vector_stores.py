"""Serve OpenAI's vector stores: validate here, and call the handlers registered in `webapp.ports.vector_stores`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from webapp.gateway.auth import Principal
from webapp.gateway.bodies import read_object
from webapp.gateway.endpoints.files_and_batches import page_of
from webapp.gateway.http import Call
from webapp.gateway.idempotency import fingerprint_of, once
from webapp.patterns.openai import vector_store_schema as schema
from webapp.patterns.openai.json_rules import Choice
from webapp.patterns.types import Json
from webapp.ports import vector_stores
from webapp.ports.files_and_batches import Caller, Page

MAX_LISTED = 100
DEFAULT_LISTED = 20
STATUSES = Choice(("in_progress", "completed", "failed", "cancelled"))


async def create_store(call: Call, principal: Principal) -> None:
    """POST vector_stores."""
    served = vector_stores.handlers().stores
    body = await read_object(call, schema.NEW_STORE)
    await _create(call, principal, body, lambda caller: served.create(caller, body))


async def list_stores(call: Call, principal: Principal) -> None:
    """GET vector_stores."""
    await call.respond_json(await vector_stores.handlers().stores.list(principal.caller, _page(call)))


async def retrieve_store(call: Call, principal: Principal, store: str) -> None:
    """GET vector_stores/{id}."""
    await call.respond_json(await vector_stores.handlers().stores.retrieve(principal.caller, store))


async def update_store(call: Call, principal: Principal, store: str) -> None:
    """POST vector_stores/{id}."""
    body = await read_object(call, schema.STORE_UPDATE)
    await call.respond_json(await vector_stores.handlers().stores.update(principal.caller, store, body))


async def delete_store(call: Call, principal: Principal, store: str) -> None:
    """DELETE vector_stores/{id}."""
    await call.respond_json(await vector_stores.handlers().stores.delete(principal.caller, store))


async def search_store(call: Call, principal: Principal, store: str) -> None:
    """POST vector_stores/{id}/search."""
    body = await read_object(call, schema.SEARCH)
    async with call.abandoned_when_gone():
        found = await vector_stores.handlers().stores.search(principal.caller, store, body)
    await call.respond_json(found)


async def create_file(call: Call, principal: Principal, store: str) -> None:
    """POST vector_stores/{id}/files."""
    served = vector_stores.handlers().files
    body = await read_object(call, schema.FILE)
    await _create(call, principal, body, lambda caller: served.create(caller, store, body))


async def list_files(call: Call, principal: Principal, store: str) -> None:
    """GET vector_stores/{id}/files."""
    await call.respond_json(await vector_stores.handlers().files.list(principal.caller, store, _page(call)))


async def retrieve_file(call: Call, principal: Principal, store: str, file: str) -> None:
    """GET vector_stores/{id}/files/{item}."""
    await call.respond_json(await vector_stores.handlers().files.retrieve(principal.caller, store, file))


async def update_file(call: Call, principal: Principal, store: str, file: str) -> None:
    """POST vector_stores/{id}/files/{item}."""
    body = await read_object(call, schema.FILE_UPDATE)
    await call.respond_json(await vector_stores.handlers().files.update(principal.caller, store, file, body))


async def delete_file(call: Call, principal: Principal, store: str, file: str) -> None:
    """DELETE vector_stores/{id}/files/{item}."""
    await call.respond_json(await vector_stores.handlers().files.delete(principal.caller, store, file))


async def file_content(call: Call, principal: Principal, store: str, file: str) -> None:
    """GET vector_stores/{id}/files/{item}/content."""
    await call.respond_json(await vector_stores.handlers().files.content(principal.caller, store, file))


async def create_batch(call: Call, principal: Principal, store: str) -> None:
    """POST vector_stores/{id}/file_batches."""
    served = vector_stores.handlers().batches
    body = await read_object(call, schema.NEW_BATCH)
    await _create(call, principal, body, lambda caller: served.create(caller, store, body))


async def retrieve_batch(call: Call, principal: Principal, store: str, batch: str) -> None:
    """GET vector_stores/{id}/file_batches/{item}."""
    await call.respond_json(await vector_stores.handlers().batches.retrieve(principal.caller, store, batch))


async def cancel_batch(call: Call, principal: Principal, store: str, batch: str) -> None:
    """POST vector_stores/{id}/file_batches/{item}/cancel."""
    await call.respond_json(await vector_stores.handlers().batches.cancel(principal.caller, store, batch))


async def list_batch_files(call: Call, principal: Principal, store: str, batch: str) -> None:
    """GET vector_stores/{id}/file_batches/{item}/files."""
    await call.respond_json(await vector_stores.handlers().batches.list_files(principal.caller, store, batch, _page(call)))


async def _create(call: Call, principal: Principal, body: Json, work: Callable[[Caller], Awaitable[Json]]) -> None:
    await call.respond_json(await once(call, principal, fingerprint_of(body), work))


def _page(call: Call) -> Page:
    page = page_of(call, least=0, most=MAX_LISTED, default=DEFAULT_LISTED, filters=("filter",))  # OpenAI's own tests ask for 0
    if status := page.filters.get("filter"):
        STATUSES.check(status, "filter")
    return page
