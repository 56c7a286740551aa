"""Requests to servers that speak the Responses protocol themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from webapp.patterns.errors import BadAnswer, CapabilityMissing, InputError
from webapp.patterns.openai.chunk_writer import ChunkWriter
from webapp.patterns.openai.normalize import encoded
from webapp.patterns.responses.completions import ChunkDecoder, to_completion
from webapp.patterns.responses.from_chat import from_chat
from webapp.patterns.responses.native import ResponsesDecoder, complete_response
from webapp.patterns.responses.objects import read_usage
from webapp.patterns.responses.replay import replay
from webapp.patterns.types import Json, Native, Protocol, Request, Response

ENDED: Final = frozenset({"completed", "incomplete"})


def passes(native: Native, capabilities: Mapping[str, bool]) -> bool:
    """Return whether a server gets a Responses request as the caller wrote it.

    Servers other than OpenAI's speak the protocol with function tools only and refuse other types. Such a request is translated for them,
    unless their capability `hosted_tools` says that they run those as well.
    """
    if native.protocol != "responses" or not capabilities.get("responses"):
        return False
    tools = native.body.get("tools") or ()
    return bool(capabilities.get("hosted_tools")) or all(tool.get("type") == "function" for tool in tools)


class PassedResponses:
    """A Responses request to a server that speaks the protocol: the caller's words, with the step's model and the whole conversation."""

    protocol: Protocol = "responses"
    path = "responses"
    headers: Mapping[str, str] = {}
    opaque = False

    def __init__(self, native: Native, *, model: str, stream: bool) -> None:
        self.body: Json = {**native.body, "model": model}
        if stream:
            self.body["stream"] = True

    def content(self) -> bytes:
        """Return the bytes to send."""
        return encoded(self.body)

    def decoder(self) -> ResponsesDecoder:
        """Return the decoder for the answer's stream."""
        return ResponsesDecoder()

    def as_events(self, body: Json) -> bytes:
        """Return a whole response as the events of a stream, for a server that did not stream though asked to."""
        check_response(body)
        complete_response(body)
        return replay(body)

    def read(self, response: Response) -> Response:
        """Return the whole response, made complete."""
        check_response(response.body)
        complete_response(response.body)
        return Response(encoded(response.body), response.body, response.headers, "responses", read_usage(response.body))


class ResponsesExchange:
    """A chat completion by a server that speaks Responses only."""

    protocol: Protocol = "responses"
    path = "responses"
    headers: Mapping[str, str] = {}
    opaque = False

    def __init__(self, request: Request, *, stream: bool) -> None:
        self.body = _translated(request.body)
        if stream:
            self.body["stream"] = True
        self._include_usage = bool((request.body.get("stream_options") or {}).get("include_usage"))

    def content(self) -> bytes:
        """Return the encoded body."""
        return encoded(self.body)

    def decoder(self) -> ChunkDecoder:
        """Return a decoder that turns events into chat chunks."""
        return ChunkDecoder(ChunkWriter(str(self.body.get("model") or ""), include_usage=self._include_usage))

    def as_events(self, body: Json) -> bytes:
        """Return a whole response as the events of a stream."""
        check_response(body)
        complete_response(body)
        return replay(body)

    def read(self, response: Response) -> Response:
        """Return the response as a chat completion."""
        check_response(response.body)
        body = to_completion(response.body)
        return Response(encoded(body), body, response.headers, "", read_usage(response.body))


def _translated(body: Mapping[str, Any]) -> Json:
    try:
        return from_chat(body)
    except InputError as error:
        raise CapabilityMissing(error.message, status=400) from error


def check_response(body: Mapping[str, object]) -> None:
    """Refuse an answer that is not a response with output, so that the next step of a chain is tried.

    Raises:
        BadAnswer: it is another object, or it failed.
    """
    if not isinstance(body.get("output"), list):
        raise BadAnswer("The answer holds no output.", status=200)
    if body.get("status") not in ENDED | {None}:
        error = body.get("error")
        message = error.get("message") if isinstance(error, dict) else None
        raise BadAnswer(str(message or f"The response ended as {body.get('status')!r}."), status=200)
