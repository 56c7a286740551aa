"""One request in the protocol of the server that gets it, and how its answer is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from webapp.patterns import errors
from webapp.patterns.openai import normalize
from webapp.patterns.openai.decoder import StreamDecoder
from webapp.patterns.openai.relay import RELAYED, RelayExchange
from webapp.patterns.types import Json, Request, Response, StreamChunk
from webapp.patterns.types import Protocol as Dialect


class Decoder(Protocol):
    """Decode the bytes of one stream, as `decoder.StreamDecoder` does."""

    @property
    def done(self) -> bool:
        """Whether the server ended the stream."""

    @property
    def finished(self) -> bool:
        """Whether the answer is whole."""

    @property
    def error(self) -> Json | None:
        """The error that the server reported in the stream."""

    def feed(self, data: bytes) -> StreamChunk | None:
        """Return what these bytes complete; None while an event is still open."""

    def close(self) -> StreamChunk | None:
        """Return what is left at the end of the stream."""


class Exchange(Protocol):
    """One request to one server.

    Attributes:
        protocol: the server's, for this request.
        path: below the base URL.
        body: the JSON body to send.
        headers: those of this request alone.
        opaque: the answer may be anything (audio, text, another JSON object), and passes as it came.
    """

    protocol: Dialect
    path: str
    body: Json
    headers: Mapping[str, str]
    opaque: bool

    def content(self) -> bytes:
        """Return the bytes to send. Raise `InputError` for a body that is not JSON."""

    def decoder(self) -> Decoder:
        """Return the decoder for the answer's stream."""

    def as_events(self, body: Json) -> bytes:
        """Return a whole answer as the events of a stream, for a server that did not stream though asked to. Raise `BadAnswer`."""

    def read(self, response: Response) -> Response:
        """Return the whole answer in the protocol of the request. Raise `BadAnswer`."""


class ChatExchange:
    """Chat completions, and the other endpoints of OpenAI's API."""

    protocol: Dialect = ""
    headers: Mapping[str, str] = {}
    opaque = False

    def __init__(self, request: Request, *, stream: bool, capabilities: Mapping[str, bool]) -> None:
        self.path = request.path
        self.body = normalize.normalize_request(request.body, stream=stream, capabilities=capabilities)
        self._raw = request.raw
        self._legacy = "functions" in request.body
        self._hide_usage = not (request.body.get("stream_options") or {}).get("include_usage")

    def content(self) -> bytes:
        """Return the caller's own bytes where only the model differs, else the body as JSON. A repair may have changed the body."""
        return (self._raw and self._raw.encoded(self.body)) or normalize.encoded(self.body)

    def decoder(self) -> StreamDecoder:
        """Return a decoder for chat chunks."""
        return StreamDecoder(hide_usage=self._hide_usage, legacy=self._legacy)

    def as_events(self, body: Json) -> bytes:
        """Return a whole completion as the events of a stream."""
        check_choices(body)
        return normalize.as_stream(body)

    def read(self, response: Response) -> Response:
        """Return the response as it is."""
        return response


def choose_exchange(request: Request, *, stream: bool, capabilities: Mapping[str, bool]) -> Exchange:
    """Return the exchange for a server with these capabilities.

    A server that speaks the caller's protocol gets the caller's words. One that speaks no chat completions gets a translation of them.
    """
    from webapp.patterns.messages.exchange import MessagesExchange, PassedMessages
    from webapp.patterns.responses.exchange import PassedResponses, ResponsesExchange, passes

    if request.path in RELAYED:
        return RelayExchange(request)
    native = request.native
    if native is not None and native.protocol == "messages" and capabilities.get("messages"):
        return PassedMessages(native, model=str(request.body.get("model") or ""), stream=stream)
    if native is not None and passes(native, capabilities):
        return PassedResponses(native, model=str(request.body.get("model") or ""), stream=stream)
    match translation_for(request.path, capabilities):
        case "messages":
            return MessagesExchange(request, stream=stream)
        case "responses":
            return ResponsesExchange(request, stream=stream)
    return ChatExchange(request, stream=stream, capabilities=capabilities)


def translation_for(path: str, capabilities: Mapping[str, bool]) -> Dialect:
    """Return the protocol that a chat completion is translated to for a server without chat completions; empty where none is needed."""
    if path != "chat/completions" or capabilities.get("chat_completions") is not False:
        return ""
    return "messages" if capabilities.get("messages") else "responses" if capabilities.get("responses") else ""


def check_choices(body: Json) -> None:
    """Refuse an answer without choices."""
    choices: Any = body.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise errors.BadAnswer("The answer holds no choices.", status=200)
