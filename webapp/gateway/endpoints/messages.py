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
from webapp.patterns.errors import BackendError
from webapp.patterns.messages import EventEncoder, check_count, check_request, complete, to_chat, to_request, wants_thinking
from webapp.patterns.types import NO_USAGE, AttemptLog, Json, Request, Usage

if TYPE_CHECKING:
    from webapp.patterns.fallback.chain import Chain

logger = logging.getLogger("patchbay.gateway")


async def create_message(call: Call, principal: Principal) -> None:
    """POST messages."""
    body = await _read(call)
    check_request(body)
    request = to_request(body, beta=call.header("anthropic-beta"), session=call.session)
    async with chain_for(call, principal, body) as (chain, trail):
        if body.get("stream"):
            await _stream(call, chain, request, trail)
        else:
            message = await complete(chain, request, trail=trail)
            await call.respond(200, message.raw, served_by(trail))


async def count_tokens(call: Call, principal: Principal) -> None:
    """POST messages/count_tokens: by the route's first server where it counts, else an estimate by its model's tokenizer."""
    body = await _read(call)
    check_count(body)
    chain = await registry.resolve(body["model"], user=principal.user)
    request = to_request(body, beta=call.header("anthropic-beta"), session=call.session).with_options(model=chain.primary_model)
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
