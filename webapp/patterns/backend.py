"""The Backend protocol: what the chain, the gateway, the chat and the batch runner ask of a server, or of a whole chain of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from webapp.patterns.types import AttemptLog, ModelInfo, Request, Response, StreamChunk


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `first_token` counts from the call to the first content, connecting included; `idle` between contents: comments and empty
    chunks do not stop these clocks. A whole answer may take ten times as long as a first token; once it began, `idle` bounds
    each pause in it. `total` bounds a streamed answer.
    """

    connect: float = 5
    first_token: float = 60
    idle: float = 60
    total: float = 3600

    def override(self, first_token: float | None, idle: float | None) -> Timeouts:
        """These, with what is given in their place."""
        return replace(self, first_token=first_token or self.first_token, idle=idle or self.idle)


@runtime_checkable
class Backend(Protocol):
    """Anything that answers like an OpenAI-compatible server.

    Both calls raise `BackendError` or `ChainError` (`patterns.errors`). Closing the generator (or cancelling the task) closes the upstream
    connection within a second.
    """

    name: str

    def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        """The streamed answer; ends after a finish reason was seen, and raises otherwise. The first packet has content."""
        ...

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        """The whole answer of any JSON endpoint (`request.path`): chat/completions, completions, embeddings."""
        ...

    async def models(self) -> list[ModelInfo]:
        """The models on offer."""
        ...

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        ...


@runtime_checkable
class Server(Backend, Protocol):
    """One server: what a step of a chain calls. Timeouts given with a call stand in for its own."""

    base_url: str
    capabilities: Mapping[str, bool]
    timeouts: Timeouts

    def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk, None]: ...

    async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response: ...


@runtime_checkable
class CountsTokens(Protocol):
    """A server that counts the tokens of a Messages request."""

    async def count_tokens(self, request: Request) -> int:
        """Return the prompt tokens. Raise `BackendError`."""
        ...
