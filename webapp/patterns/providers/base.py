"""The Backend protocol: what the chain, the gateway, the chat and the batch runner ask of a server, or of a whole chain of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol, runtime_checkable

from webapp.patterns.types import Answer, ModelInfo, Packet, Request, Trail


@runtime_checkable
class Backend(Protocol):
    """Anything that answers like an OpenAI-compatible server.

    Both calls raise `BackendError` or `ChainError` (`patterns.errors`). Closing the generator (or cancelling the task) closes the upstream
    connection within a second.
    """

    name: str

    def stream(self, request: Request, *, trail: Trail | None = None) -> AsyncGenerator[Packet, None]:
        """The streamed answer; ends after a finish reason was seen, and raises otherwise. The first packet has content."""
        ...

    async def send(self, request: Request, *, trail: Trail | None = None) -> Answer:
        """The whole answer of any JSON endpoint (`request.path`): chat/completions, completions, embeddings."""
        ...

    async def models(self) -> list[ModelInfo]:
        """The models on offer."""
        ...

    async def aclose(self) -> None:
        """Close the connections; idempotent."""
        ...
