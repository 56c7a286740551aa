"""Requests to servers that speak Anthropic's Messages API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from webapp.patterns.errors import BadAnswer, CapabilityMissing, InputError
from webapp.patterns.messages.answers import SIGNATURE
from webapp.patterns.messages.completions import read_usage, to_completion
from webapp.patterns.messages.decoder import EventDecoder
from webapp.patterns.messages.events import message_events
from webapp.patterns.messages.from_chat import from_chat
from webapp.patterns.openai.chunk_writer import ChunkWriter
from webapp.patterns.openai.normalize import encoded
from webapp.patterns.types import Json, Native, Protocol, Request, Response

VERSION: Final = {"anthropic-version": "2023-06-01"}
_BAD_ID: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""Anthropic's servers refuse ids of calls that hold anything else. Chat servers write such ids ("functions.add:0")."""


class PassedMessages:
    """A Messages request to a server that speaks the protocol: the caller's words, with the step's model."""

    protocol: Protocol = "messages"
    path = "messages"
    opaque = False

    def __init__(self, native: Native, *, model: str, stream: bool) -> None:
        self.headers: Mapping[str, str] = {**VERSION, **native.headers}
        self.body = passed_body(native.body, model)
        if stream:
            self.body["stream"] = True
        else:
            self.body.pop("stream", None)

    def content(self) -> bytes:
        """Return the encoded body."""
        return encoded(self.body)

    def decoder(self) -> EventDecoder:
        """Return a decoder that passes the events on."""
        return EventDecoder()

    def as_events(self, body: Json) -> bytes:
        """Return a whole message as the events of a stream."""
        check_message(body)
        return message_events(body)

    def read(self, response: Response) -> Response:
        """Return the checked response with its usage."""
        check_message(response.body)
        return Response(response.raw, response.body, response.headers, "messages", read_usage(response.body))


class CountExchange(PassedMessages):
    """A request to count the tokens of a prompt."""

    path = "messages/count_tokens"

    def __init__(self, request: Request) -> None:
        native = request.native or Native("messages", from_chat(request.body))
        super().__init__(native, model=str(request.body.get("model") or ""), stream=False)
        self.body.pop("max_tokens", None)

    def count(self, body: Json) -> int:
        """Return the number in the server's answer. Raise `BadAnswer`."""
        tokens = body.get("input_tokens")
        if not isinstance(tokens, int):
            raise BadAnswer("The answer holds no count of tokens.", status=200)
        return tokens


class MessagesExchange:
    """A chat completion by a server that speaks Messages only."""

    protocol: Protocol = "messages"
    path = "messages"
    headers: Mapping[str, str] = VERSION
    opaque = False

    def __init__(self, request: Request, *, stream: bool) -> None:
        self.body = _translated(request.body)
        if stream:
            self.body["stream"] = True
        self._include_usage = bool((request.body.get("stream_options") or {}).get("include_usage"))

    def content(self) -> bytes:
        """Return the encoded body."""
        return encoded(self.body)

    def decoder(self) -> EventDecoder:
        """Return a decoder that turns message events into chat chunks."""
        return EventDecoder(ChunkWriter(str(self.body.get("model") or ""), include_usage=self._include_usage))

    def as_events(self, body: Json) -> bytes:
        """Return a whole message as the events of a stream."""
        check_message(body)
        return message_events(body)

    def read(self, response: Response) -> Response:
        """Return the message as a chat completion."""
        check_message(response.body)
        body = to_completion(response.body)
        return Response(encoded(body), body, response.headers, "", read_usage(response.body))


def _translated(body: Mapping[str, Any]) -> Json:
    try:
        return from_chat(body)
    except InputError as error:
        raise CapabilityMissing(error.message, status=400) from error


def check_message(body: Mapping[str, Any]) -> None:
    """Refuse an answer that is not a message."""
    if not isinstance(body.get("content"), list):
        raise BadAnswer("The answer holds no message.", status=200)


def passed_body(body: Mapping[str, Any], model: str) -> Json:
    """Return the caller's body for an Anthropic server: nulls left out, and what chat servers said in a form that it takes.

    Thinking that a chat server wrote has no signature of Anthropic's and is left out. A turn that calls tools must then begin with
    thinking, or thinking must be off: so it is switched off for this request.
    """
    sent: Json = {name: value for name, value in body.items() if value is not None}
    sent["model"] = model
    sent["messages"] = [_message(message) for message in body["messages"]]
    if sent["messages"] != list(body["messages"]) and _lost_thinking(sent["messages"]) and "thinking" in sent:
        sent["thinking"] = {"type": "disabled"}
    return sent


def _message(message: Mapping[str, Any]) -> Json:
    content = message["content"]
    if not isinstance(content, list):
        return dict(message)
    return {**message, "content": [_block(block) for block in content if not _is_foreign_thinking(block)]}


def _is_foreign_thinking(block: Any) -> bool:
    return isinstance(block, dict) and block.get("type") == "thinking" and block.get("signature") in {SIGNATURE, "", None}


def _block(block: Any) -> Any:
    if not isinstance(block, dict):
        return block
    name = {"tool_use": "id", "tool_result": "tool_use_id"}.get(str(block.get("type")))
    identifier = block.get(name) if name else None
    if name is None or not isinstance(identifier, str) or not _BAD_ID.search(identifier):
        return block
    return {**block, name: _BAD_ID.sub("_", identifier)}


def _lost_thinking(messages: list[Json]) -> bool:
    """Return whether the assistant's last turn calls tools without thinking before."""
    last = next((message for message in reversed(messages) if message.get("role") == "assistant"), None)
    content = last["content"] if last is not None and isinstance(last["content"], list) else []
    kinds = [block.get("type") for block in content if isinstance(block, dict)]
    return "tool_use" in kinds and kinds[0] not in {"thinking", "redacted_thinking"}
