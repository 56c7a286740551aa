"""A Messages request to any backend or chain, and the whole message that answers it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from webapp.patterns.backend import Backend
from webapp.patterns.errors import InputError
from webapp.patterns.messages.answers import to_message
from webapp.patterns.messages.requests import to_chat, wants_thinking
from webapp.patterns.openai.normalize import encoded
from webapp.patterns.types import NO_USAGE, AttemptLog, Json, Native, Request, Response, Usage


def to_request(body: Mapping[str, Any], *, beta: str = "", session: str = "") -> Request:
    """Return the request for a chain: the caller's words, with the chat completion that says the same where there is one.

    Args:
        body: a valid Messages request.
        beta: the header `anthropic-beta`, for servers that speak the protocol themselves.
        session: ties the request to earlier ones, for routes that keep a conversation on one backend.
    """
    why = ""
    try:
        chat = to_chat(body)
    except InputError as error:
        chat, why = {"model": body["model"], "messages": []}, error.message
    headers = {"anthropic-beta": beta} if beta and beta.isascii() and beta.isprintable() else {}
    return Request(chat, native=Native("messages", body, why, headers), session=session)


def as_message(response: Response, body: Mapping[str, Any], usage: Usage) -> Response:
    """Return a response as a message: as it came from a server that speaks the protocol, else translated.

    Args:
        response: of a chain.
        body: the Messages request.
        usage: the tokens, counted by the server or estimated.
    """
    if response.protocol == "messages":
        return response
    stops = body.get("stop_sequences") or ()
    made: Json = to_message(response, model=str(body["model"]), usage=usage, thinking=wants_thinking(body), stops=stops)
    return Response(encoded(made), made, response.headers, "messages", usage)


async def complete(backend: Backend, request: Request, *, trail: AttemptLog | None = None) -> Response:
    """Return the whole message that answers a request of `to_request`.

    Raises:
        PatternError: no backend answered.
    """
    log = trail if trail is not None else AttemptLog()
    response = await backend.send(request, trail=log)
    body = request.native.body if request.native is not None else request.body
    return as_message(response, body, log.served_by.usage if log.served_by else NO_USAGE)
