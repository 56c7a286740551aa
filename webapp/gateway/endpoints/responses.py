"""Serve OpenAI's Responses API over every route: create, read, stream again, cancel, delete."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from webapp.backends.runtime import registry
from webapp.core.database import in_database
from webapp.gateway import limits
from webapp.gateway.auth import Principal
from webapp.gateway.bodies import read_object
from webapp.gateway.endpoints.completions import EVENT_STREAM, chain_for, served_by
from webapp.gateway.endpoints.files_and_batches import page_of
from webapp.gateway.http import Call
from webapp.gateway.idempotency import fingerprint_of, once
from webapp.gateway.models import StoredResponse
from webapp.gateway.responses import dispatch, jobs, lookup, records
from webapp.gateway.responses.preparation import DEFAULT_MODEL, prepare
from webapp.gateway.responses.running import RunningResponse, running
from webapp.gateway.responses.tools import UserTools
from webapp.patterns.errors import InputError
from webapp.patterns.responses import schema
from webapp.patterns.responses.compaction import compact
from webapp.patterns.responses.encoder import EventEncoder
from webapp.patterns.responses.execution import Execution
from webapp.patterns.responses.objects import TERMINAL, conversation_id, new_id, new_response
from webapp.patterns.responses.replay import replay
from webapp.patterns.responses.request import ResponsesRequest, to_chat
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError, Caller, listing

POLL_SECONDS: Final = 0.1
"""Between two looks at the log of a response that runs in another process."""
KEEPALIVE_SECONDS: Final = 15.0
KEEPALIVE: Final = b": keep-alive\n\n"
CANCEL_SECONDS: Final = 5.0
"""How long a cancellation waits for the process that runs the response."""
MAX_LISTED: Final = 100
DEFAULT_LISTED: Final = 20


async def create_response(call: Call, principal: Principal) -> None:
    """POST responses."""
    body = await read_object(call, schema.RESPONSE)
    asked = await prepare(principal, body)
    if body.get("background"):
        await _create_in_background(call, principal, asked)
    elif body.get("stream"):
        await _stream(call, principal, asked)
    else:
        await _create_whole(call, principal, asked)


async def _create_whole(call: Call, principal: Principal, asked: ResponsesRequest) -> None:
    body = asked.body
    response = new_response(body, response_id=new_id("resp_"))
    async with chain_for(call, principal, body) as (chain, trail):
        await Execution(chain, asked, response=response, server=UserTools(principal.user, call.id), trail=trail).send()
        if _is_stored(body):
            await in_database(records.store_response, _row(call, principal, asked, response))
        await call.respond_json(response, headers=served_by(trail))


async def _stream(call: Call, principal: Principal, asked: ResponsesRequest) -> None:
    """Stream a response. Nothing is sent before the first content: until then another backend may answer, or an error with its status."""
    body = asked.body
    response = new_response(body, response_id=new_id("resp_"))
    async with chain_for(call, principal, body) as (chain, trail):
        execution = Execution(chain, asked, response=response, server=UserTools(principal.user, call.id), trail=trail)
        async with aclosing(_events(call, principal, asked, execution)) as stream:
            async for events in stream:
                if not call.started:
                    await call.start(200, {**EVENT_STREAM, **served_by(trail)})
                await call.send(events)
        await call.end()


def _events(call: Call, principal: Principal, asked: ResponsesRequest, execution: Execution) -> AsyncGenerator[bytes, None]:
    """Return the events of a streamed response; where it is stored, its row is written while the backend thinks."""
    if not _is_stored(asked.body):
        return execution.stream()
    row = _row(call, principal, asked, execution.response)
    stored = asyncio.ensure_future(in_database(records.store_response, row, owner=jobs.this_process()))
    return RunningResponse(row, execution, stored=stored).events()


async def _create_in_background(call: Call, principal: Principal, asked: ResponsesRequest) -> None:
    """Queue a response: some process runs it, whatever becomes of this one and of the client."""
    body = asked.body
    await registry.resolve(body["model"], user=principal.user)
    await limits.admit(call, principal)

    async def work(caller: Caller) -> Json:
        response = new_response(body, response_id=new_id("resp_"), status="queued")
        events = EventEncoder(response, ToolSet()).queued()
        row = _row(call, principal, asked, response)
        await in_database(records.store_response, row, events, record=lambda: caller.record(response))
        return response

    response = await once(call, principal, fingerprint_of(body), work)
    await asyncio.to_thread(dispatch.enqueue_responses)
    if body.get("stream"):
        await _follow(call, principal, response["id"], after=-1)
    else:
        await call.respond_json(response)


def _is_stored(body: Json) -> bool:
    return body.get("store") is not False


def _row(call: Call, principal: Principal, asked: ResponsesRequest, response: Json) -> StoredResponse:
    body = asked.body
    return StoredResponse(
        id=response["id"],
        user=principal.user,
        token_id=principal.token_id,
        request_id=call.id,
        status=response["status"],
        background=bool(body.get("background")),
        streamed=bool(body.get("stream")),
        model=body["model"],
        previous=body.get("previous_response_id") or "",
        conversation_id=conversation_id(body) or None,
        request={name: value for name, value in body.items() if name != "input"},
        input=list(asked.input),
        response=response,
    )


# --- stored responses


async def retrieve_response(call: Call, principal: Principal, name: str) -> None:
    """GET responses/{id}; with `stream=true` its events, those after `starting_after`."""
    query = call.query()
    row = await in_database(lookup.response, principal.user.pk, name)
    if query.get("stream") == "true":
        await _follow(call, principal, row.pk, after=_starting_after(query))
    else:
        await call.respond_json(_current(row))


def _starting_after(query: dict[str, str]) -> int:
    text = query.get("starting_after") or "-1"
    if not text.removeprefix("-").isdecimal() or len(text) > 12:
        raise InputError("Invalid 'starting_after': expected an integer.", param="starting_after", code="invalid_type")
    return int(text)


def _current(row: StoredResponse) -> Json:
    return {**row.response, "status": row.status}


async def _follow(call: Call, principal: Principal, response_id: str, *, after: int) -> None:
    """Send the events after number `after` as they are committed, until the response has ended."""
    row = await in_database(lookup.response, principal.user.pk, response_id)
    if row.status in TERMINAL and not row.events:  # it was not streamed: its events are made from its output
        await call.start(200, EVENT_STREAM)
        await call.end(replay(_current(row), after=after))
        return
    await call.start(200, EVENT_STREAM)
    async with call.abandoned_when_gone(), aclosing(_committed(response_id, after)) as stream:
        async for events in stream:
            await call.send(events)
    await call.end()


async def _committed(response_id: str, after: int) -> AsyncGenerator[bytes, None]:
    clock = asyncio.get_running_loop().time
    spoke = clock()
    while True:
        here = running().get(response_id)
        changed = here.log.changed if here else None  # before the read: a write after it is not missed
        found = await in_database(lookup.events_after, response_id, after)
        if found is None:
            return
        if found.events:
            after += len(found.events)
            spoke = clock()
            yield b"".join(found.events)
        if found.ended:
            return
        if clock() - spoke > KEEPALIVE_SECONDS:
            spoke = clock()
            yield KEEPALIVE
        if not found.events:
            await _wait(changed)


async def _wait(changed: asyncio.Event | None) -> None:
    """Wait for a write in this process, or a moment where another one runs the response."""
    if changed is None:
        await asyncio.sleep(POLL_SECONDS)
        return
    waiting = asyncio.ensure_future(changed.wait())
    await asyncio.wait({waiting}, timeout=1.0)
    waiting.cancel()


async def delete_response(call: Call, principal: Principal, name: str) -> None:
    """DELETE responses/{id}."""
    row = await in_database(lookup.response, principal.user.pk, name)
    await in_database(records.delete_response, row)
    if row.pk in running():
        running()[row.pk].cancel("lost")
    await call.respond_json({"id": name, "object": "response", "deleted": True})


async def cancel_response(call: Call, principal: Principal, name: str) -> None:
    """POST responses/{id}/cancel; cancelling one that has ended changes nothing."""
    row = await in_database(lookup.response, principal.user.pk, name)
    if not row.background:
        raise ApiError(400, "Only background responses can be cancelled. To end another one, close its connection.", code="invalid_request")
    if row.status not in TERMINAL:
        await in_database(records.request_cancel, row)
        if row.pk in running():
            running()[row.pk].cancel("cancelled")
        jobs.wake()
        row = await _ended(principal, row)
    await call.respond_json(_current(row))


async def _ended(principal: Principal, row: StoredResponse) -> StoredResponse:
    """Return the row once the response has ended, or as it is after a while."""
    deadline = asyncio.get_running_loop().time() + CANCEL_SECONDS
    while row.status not in TERMINAL and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(POLL_SECONDS / 2)
        row = await in_database(lookup.response, principal.user.pk, row.pk)
    return row


async def list_input_items(call: Call, principal: Principal, name: str) -> None:
    """GET responses/{id}/input_items: what the model read, the items of previous responses included."""
    row = await in_database(lookup.response, principal.user.pk, name)
    items = list(row.input)
    if row.previous:
        items = [*await in_database(lookup.history, principal.user.pk, row.previous), *items]
    await call.respond_json(item_page(call, items))


def item_page(call: Call, items: list[Json]) -> Json:
    """Return the page of a list of items that the query asks for; newest first unless it says otherwise."""
    page = page_of(call, least=0, most=MAX_LISTED, default=DEFAULT_LISTED)  # OpenAI's own tests ask for 0
    ordered = items if page.order == "asc" else items[::-1]
    if page.after:
        position = next((number for number, item in enumerate(ordered) if item["id"] == page.after), None)
        if position is None:
            raise InputError(f"No item found with id '{page.after}'.", param="after", code="invalid_value")
        ordered = ordered[position + 1 :]
    data = ordered[: page.limit]
    return listing(data, has_more=len(ordered) > len(data))


async def count_input_tokens(call: Call, principal: Principal) -> None:
    """POST responses/input_tokens: an estimate, by the tokenizer of the route's first model where it is known."""
    from webapp.patterns.tokens.counting import acount_messages

    body = await read_object(call, schema.INPUT_TOKENS)
    asked = await prepare(principal, {**body, "model": body.get("model") or DEFAULT_MODEL})
    chain = await registry.resolve(asked.body["model"], user=principal.user)
    chat = to_chat(asked, ToolSet.of(body.get("tools")))
    count = await acount_messages(chat["messages"], chain.primary_model, chat.get("tools") or ())
    await call.respond_json({"object": "response.input_tokens", "input_tokens": count.tokens})


async def compact_response(call: Call, principal: Principal) -> None:
    """POST responses/compact: the conversation with all but the user's messages summarized."""
    body = await read_object(call, schema.COMPACT)
    asked = await prepare(principal, body)
    async with chain_for(call, principal, asked.body) as (chain, trail):
        compacted = await compact(chain, asked, trail=trail)
        await call.respond_json(compacted, headers=served_by(trail))
