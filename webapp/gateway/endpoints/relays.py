"""Relay moderation, reranking, audio and images over routes, with fallback and accounting."""

from __future__ import annotations

import re
from contextlib import aclosing
from typing import Any

from django.conf import settings

from webapp.backends.runtime import registry
from webapp.gateway.auth import Principal
from webapp.gateway.bodies import parse
from webapp.gateway.endpoints.completions import EVENT_STREAM, chain_for, served_by
from webapp.gateway.http import JSON_TYPE, Call
from webapp.gateway.multipart import read_form
from webapp.patterns.backend import Backend
from webapp.patterns.errors import InputError
from webapp.patterns.openai.request_schema import RESERVED, check_body
from webapp.patterns.types import AttemptLog, Form, Json, Request

DEFAULT_MODELS = {
    "moderations": re.compile(r"moderation|guard", re.IGNORECASE),
    "images": re.compile(r"image|dall-e|flux|diffusion|\bsd", re.IGNORECASE),
}
"""The names of models that serve a request without a model, by the first part of its path. OpenAI's schema lets clients leave it out."""
FILES = {"audio": ("file",), "images": ("image", "image[]")}
"""The form fields of which a request has one, by the first part of its path."""


async def relay_json(call: Call, principal: Principal) -> None:
    """POST moderations, rerank, audio/speech, and images/generations."""
    body = parse(await call.body(settings.MAX_BODY_BYTES))
    if isinstance(body, dict) and body.get("model") is None:
        body = {**body, "model": await _default_model(call, principal)}
    check_body(body, call.path)
    streamed = bool(body.get("stream")) or call.path == "audio/speech"
    await _relay(call, principal, Request(body, call.path), streamed=streamed)


async def relay_form(call: Call, principal: Principal) -> None:
    """POST audio/transcriptions, audio/translations, images/edits, and images/variations."""
    form = await read_form(call)
    body = _texts(form)
    _check_form(call, form, body)
    if not body.get("model"):
        body["model"] = await _default_model(call, principal)
    await _relay(call, principal, Request(body, call.path, form=form), streamed=body.get("stream") == "true")


def _texts(form: Form) -> Json:
    """Return the texts of a form; a name that repeats has a list."""
    body: Json = {}
    for name, value in form.fields:
        body[name] = [*(body[name] if isinstance(body[name], list) else [body[name]]), value] if name in body else value
    return body


def _check_form(call: Call, form: Form, body: Json) -> None:
    for name in RESERVED:
        if name in body:
            why = f"'{name}' may not be set in a request: an administrator configures where requests go."
            raise InputError(why, param=name, code="unknown_parameter")
    if isinstance(body.get("model"), list):
        raise InputError("Invalid type for 'model': expected a string, but got an array instead.", param="model", code="invalid_type")
    wanted = FILES[call.path.split("/")[0]]
    if not any(file.name in wanted for file in form.files):
        raise InputError(f"Missing required parameter: '{wanted[0]}'.", param=wanted[0], code="missing_required_parameter")


async def _default_model(call: Call, principal: Principal) -> str:
    """Return the first model on offer that is made for the endpoint.

    Raises:
        InputError: there is none, or models for the endpoint do not tell themselves by their names.
    """
    names = DEFAULT_MODELS.get(call.path.split("/")[0])
    for offered in await registry.offered(principal.user) if names else ():
        if names and names.search(offered.name):
            return offered.name
    raise InputError("Missing required parameter: 'model'.", param="model", code="missing_required_parameter")


async def _relay(call: Call, principal: Principal, request: Request, *, streamed: bool) -> None:
    body: Any = request.body
    async with chain_for(call, principal, body) as (chain, trail):
        if streamed:
            await _stream(call, chain, request, trail)
        else:
            response = await chain.send(request, trail=trail)
            await call.respond(200, response.raw, {"content-type": response.content_type or JSON_TYPE, **served_by(trail)})


async def _stream(call: Call, chain: Backend, request: Request, trail: AttemptLog) -> None:
    """Pass an answer on as it comes. A failure in the middle cuts the connection, since an error inside audio would be noise."""
    async with aclosing(chain.stream(request, trail=trail)) as chunks:
        async for chunk in chunks:
            if not call.started:
                events = chunk.content_type.startswith("text/event-stream")
                call.cut_on_failure = not events
                headers = EVENT_STREAM if events else {"content-type": chunk.content_type}
                await call.start(200, {**headers, **served_by(trail)})
            await call.send(chunk.raw)
    await call.end()
