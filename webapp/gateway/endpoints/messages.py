"""Serve Anthropic's Messages API over every route: translated to chat completions, or passed on where a server speaks it."""

from __future__ import annotations

from contextlib import aclosing
from typing import Any

from django.conf import settings

from webapp.backends.runtime import registry
from webapp.gateway.auth import Principal
from webapp.gateway.bodies import parse
from webapp.gateway.endpoints.completions import EVENT_STREAM, chain_for, served_by
from webapp.gateway.http import Call
from webapp.patterns.backend import Backend
from webapp.patterns.errors import InputError
from webapp.patterns.messages import EventEncoder, check_count, check_request, to_chat, to_message, wants_thinking
from webapp.patterns.types import NO_USAGE, AttemptLog, Json, Native, Request, Response, Usage


async def create_message(call: Call, principal: Principal) -> None:
    """POST messages."""
    body = await _read(call)
    check_request(body)
    request = translated(body)
    async with chain_for(call, principal, body) as (chain, trail):
        if body.get("stream"):
            await _stream(call, chain, request, trail)
        else:
            answer = await chain.send(request, trail=trail)
            await _respond(call, answer, body, trail)


async def count_tokens(call: Call, principal: Principal) -> None:
    """POST messages/count_tokens: an estimate, by the tokenizer of the route's first model where it is known."""
    from webapp.patterns.tokens.counting import acount_messages

    body = await _read(call)
    check_count(body)
    chain = await registry.resolve(body["model"], user=principal.user)
    chat = to_chat(body)
    count = await acount_messages(chat["messages"], chain.primary_model, chat.get("tools") or ())
    await call.respond_json({"input_tokens": count.tokens})


async def _read(call: Call) -> Any:
    return parse(await call.body(settings.MAX_BODY_BYTES))


def translated(body: Json) -> Request:
    """Return the request for a chain: the caller's words, with the chat completion that says the same where there is one."""
    try:
        chat, why = to_chat(body), ""
    except InputError as error:
        chat, why = {"model": body["model"], "messages": []}, error.message
    return Request(chat, native=Native("messages", body, untranslatable=why))


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
