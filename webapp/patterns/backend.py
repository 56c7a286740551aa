"""Define the Backend protocol, which the chain, the gateway, the chat, and the batch runner use for one server or a chain."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from webapp.patterns.types import AttemptLog, ModelInfo, Request, Response, StreamChunk


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Timeouts in seconds.

    `first_token` counts from the call to the first content, including the connection. `idle` counts between contents. Comments and empty
    chunks do not reset these clocks. A complete answer may take ten times as long as a first token; once it begins, `idle` bounds each
    pause. `total` bounds a streamed answer.
    """

    connect: float = 5
    first_token: float = 60
    idle: float = 60
    total: float = 3600

    def override(self, first_token: float | None, idle: float | None) -> Timeouts:
        """Return a copy with the given values replaced."""
        return replace(self, first_token=first_token or self.first_token, idle=idle or self.idle)


@runtime_checkable
class Backend(Protocol):
    """An OpenAI-compatible server, or anything that behaves like one.

    Both calls raise `BackendError` or `ChainError` (`patterns.errors`). Closing the generator (or cancelling the task) closes the upstream
    connection within a second.
    """

    name: str

    def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        """Stream the answer. It ends after a finish reason and raises otherwise. The first chunk has content."""
        ...

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        """Return the complete answer of any JSON endpoint (`request.path`): chat/completions, completions, embeddings."""
        ...

    async def models(self) -> list[ModelInfo]:
        """Return the offered models."""
        ...

    async def aclose(self) -> None:
        """Close the connections. Idempotent."""
        ...


@runtime_checkable
class Server(Backend, Protocol):
    """One server, as a step of a chain calls it. Timeouts of a call replace its own."""

    base_url: str
    capabilities: Mapping[str, bool]
    timeouts: Timeouts

    def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk, None]:
        """Yield the chunks of an answer. Raise `BackendError` before the first one when the backend fails."""

    async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response:
        """Return a whole answer. Raise `BackendError` when the backend fails."""


@runtime_checkable
class CountsTokens(Protocol):
    """A server that counts the tokens of a Messages request."""

    async def count_tokens(self, request: Request) -> int:
        """Return the prompt tokens.

        Raises:
            BackendError: the server did not count.
        """
        ...
