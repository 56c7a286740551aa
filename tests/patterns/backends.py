"""Backends for tests of what stands above them: they answer as a function says."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

from webapp.patterns.types import Attempt, AttemptLog, Json, ModelInfo, Request, Response, StreamChunk


class Scripted:
    """Answers with what `answer` makes of a request (or raises); streams the packets of `packets`; keeps the requests."""

    name = "scripted"

    def __init__(
        self,
        answer: Callable[[Request], Awaitable[Json]] | None = None,
        packets: Callable[[Request], AsyncGenerator[StreamChunk, None]] | None = None,
    ) -> None:
        self.requests: list[Request] = []
        self._answer = answer
        self._packets = packets

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        self.requests.append(request)
        assert self._answer is not None
        attempt = Attempt(self.name, str(request.body.get("model") or ""))
        if trail is not None:
            trail.add(attempt)
        return Response(b"", await self._answer(request))

    def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        self.requests.append(request)
        assert self._packets is not None
        return self._packets(request)

    async def models(self) -> list[ModelInfo]:
        return []

    async def aclose(self) -> None:
        pass


def says(text: str, **fields: Any) -> Json:
    """The body of a whole answer."""
    return {"choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}], **fields}
