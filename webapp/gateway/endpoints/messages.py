"""Serve Anthropic's Messages API over every route: translated to chat completions, or passed on where a server speaks it."""

from __future__ import annotations

import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from django.conf import settings

from webapp.backends.runtime import registry
from webapp.gateway.auth import Principal
from webapp.gateway.bodies import parse
from webapp.gateway.endpoints.completions import EVENT_STREAM, chain_for, served_by
from webapp.gateway.http import Call
from webapp.patterns.backend import Backend, CountsTokens
from webapp.patterns.errors import BackendError, InputError
from webapp.patterns.messages import EventEncoder, check_count, check_request, to_chat, to_message, wants_thinking
from webapp.patterns.types import NO_USAGE, AttemptLog, Json, Native, Request, Response, Usage

if TYPE_CHECKING:
    from webapp.patterns.fallback.chain import Chain

logger = logging.getLogger("patchbay.gateway")


async def create_message(call: Call, principal: Principal) -> None:
    """POST messages."""
    body = await _read(call)
    check_request(body)
    request = translated(body, beta=call.header("anthropic-beta"), session=call.session)
    async with chain_for(call, principal, body) as (chain, trail):
        if body.get("stream"):
            await _stream(call, chain, request, trail)
        else:
            answer = await chain.send(request, trail=trail)
            await _respond(call, answer, body, trail)


async def count_tokens(call: Call, principal: Principal) -> None:
    """POST messages/count_tokens: by the route's first server where it counts, else an estimate by its model's tokenizer."""
    body = await _read(call)
    check_count(body)
    chain = await registry.resolve(body["model"], user=principal.user)
    request = translated(body, beta=call.header("anthropic-beta"), session=call.session).with_options(model=chain.primary_model)
    async with call.abandoned_when_gone():
        counted = await _counted_by_server(chain, request)
    if counted is None:
        counted = await _estimated(body, chain.primary_model)
    await call.respond_json({"input_tokens": counted})


async def _counted_by_server(chain: Chain, request: Request) -> int | None:
    """Return the count of the chain's first server; None where it cannot count or does not answer."""
    step = chain.steps[0]
    server = step.backend
    if step.unusable or not server.capabilities.get("count_tokens") or not isinstance(server, CountsTokens):
        return None
    try:
        return await server.count_tokens(request)
    except BackendError as error:
        logger.info("%s did not count the tokens of a prompt: %s", server.name, error.message)
        return None


async def _estimated(body: Json, model: str) -> int:
    from webapp.patterns.tokens.counting import acount_messages

    chat = to_chat(body)
    return (await acount_messages(chat["messages"], model, chat.get("tools") or ())).tokens


async def _read(call: Call) -> Any:
    return parse(await call.body(settings.MAX_BODY_BYTES))


def translated(body: Json, *, beta: str = "", session: str = "") -> Request:
    """Return the request for a chain: the caller's words, with the chat completion that says the same where there is one.

    Args:
        body: a valid Messages request.
        beta: the header `anthropic-beta`, for servers that speak the protocol themselves.
        session: what ties the request to earlier ones (`Call.session`).
    """
    try:
        chat, why = to_chat(body), ""
    except InputError as error:
        chat, why = {"model": body["model"], "messages": []}, error.message
    headers = {"anthropic-beta": beta} if beta.isascii() and beta.isprintable() and beta else {}
    return Request(chat, native=Native("messages", body, why, headers), session=session)


async def _respond(call: Call, answer: Response, body: Json, trail: AttemptLog) -> None:
    if answer.protocol == "messages":
        await call.respond(200, answer.raw, served_by(trail))
        return
    stops, thinking = body.get("stop_sequences") or (), wants_thinking(body)
    message = to_message(answer, model=body["model"], usage=_usage(trail), thinking=thinking, stops=stops)
    await call.respond_json(message, headers=served_by(trail))


async def _stream(call: Call, chain: Backend, request: Request, trail: AttemptLog) -> None:
    """Relay a stream as Anthropic's events. Nothing is sent before the first content, as in `relay`."""
    assert request.native is not None
    body = request.native.body
    encoder = EventEncoder(model=body["model"], thinking=wants_thinking(body), stops=body.get("stop_sequences") or ())
    async with aclosing(chain.stream(request, trail=trail)) as chunks:
        async for chunk in chunks:
            if not call.started:
                await call.start(200, {**EVENT_STREAM, **served_by(trail)})
            if events := encoder.feed(chunk):
                await call.send(events)
    await call.end(encoder.close(_usage(trail)))


def _usage(trail: AttemptLog) -> Usage:
    """Return the tokens of the attempt that was answered, counted by the server or estimated."""
    return trail.served_by.usage if trail.served_by else NO_USAGE
