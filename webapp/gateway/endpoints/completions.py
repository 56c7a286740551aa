"""Serve chat/completions and completions through the chain, complete or streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from webapp.backends.runtime import registry
from webapp.gateway import limits
from webapp.gateway.auth import Principal
from webapp.gateway.bodies import read_request
from webapp.gateway.errors import api_error
from webapp.gateway.http import Call
from webapp.gateway.repair import StreamMender, mend_answer
from webapp.patterns.backend import Backend
from webapp.patterns.errors import PatternError
from webapp.patterns.types import AttemptLog, Json, Request

EVENT_STREAM = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache", "x-accel-buffering": "no"}
DONE = b"data: [DONE]\n\n"
SWITCHED = b": another backend goes on (%b)\n\n"
"""A comment, which clients skip: the protocol cannot express that a route restarts or continues an answer on its next step."""


async def completions(call: Call, principal: Principal) -> None:
    """Answer POST chat/completions and POST completions."""
    body, own_bytes = await read_request(call)
    request = Request(body, call.path, session=call.session, raw=own_bytes)
    async with chain_for(call, principal, body) as (chain, trail):
        if body.get("stream"):
            await _stream(call, chain, request, trail)
        else:
            answer = await chain.send(request, trail=trail)
            raw = mend_answer(answer, path=call.path, request_id=call.id.hex, model=body["model"])
            await call.respond(200, raw, served_by(trail))


@asynccontextmanager
async def chain_for(call: Call, principal: Principal, body: Json) -> AsyncGenerator[tuple[Backend, AttemptLog]]:
    """Yield the chain for the body's model, within all limits and while the client is connected.

    In any case the attempts are recorded and counted. Errors become `ApiError`, with the attempts in the headers.
    """
    chain = await registry.resolve(body["model"], user=principal.user)
    admission = await limits.admit(call, principal)
    trail = AttemptLog()
    try:
        async with call.abandoned_when_gone():
            yield chain, trail
    except PatternError as error:
        call.extra_headers.update(served_by(trail))
        raise api_error(error) from error
    finally:
        registry.record(
            trail,
            request_id=call.id,
            source="gateway",
            user_id=principal.user.pk,
            token_id=principal.token_id,
            route=body["model"],
            endpoint=call.path,
        )
        await admission.settle(trail)


async def _stream(call: Call, chain: Backend, request: Request, trail: AttemptLog) -> None:
    """Relay a stream. Nothing is sent before the first content: until then another backend may answer, or an error with its status."""
    mender = StreamMender(path=call.path, request_id=call.id.hex, model=request.body["model"])
    raw = b""
    async with aclosing(chain.stream(request, trail=trail)) as packets:
        async for packet in packets:
            if not call.started:
                await call.start(200, {**EVENT_STREAM, **served_by(trail)})
            raw = SWITCHED % packet.switch.encode() if packet.switch else mender.mend(packet.raw)
            await call.send(raw)
    await call.end(b"" if raw.endswith(DONE) else DONE)


def served_by(trail: AttemptLog) -> dict[str, str]:
    """Return the headers that name the answering backend and the number of attempts."""
    asked = [attempt for attempt in trail.attempts if attempt.outcome != "skipped"]
    headers = {"x-patchbay-attempts": str(len(asked))}
    if trail.served_by:
        headers["x-patchbay-backend"] = trail.served_by.backend
        headers["x-patchbay-model"] = trail.served_by.model
    return headers
