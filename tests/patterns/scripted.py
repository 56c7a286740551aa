"""A backend that plays a script, for tests of the tool loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from webapp.patterns.agent import loop
from webapp.patterns.agent.loop import AgentResult, Event
from webapp.patterns.agent.tools import ToolRegistry
from webapp.patterns.types import Attempt, AttemptLog, Delta, Message, ModelInfo, Request, Response, StreamChunk, ToolCallDelta

Turn = Sequence[Delta | StreamChunk | Exception | float]
QUESTION: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Well?"}]


class Scripted:
    """A backend that plays a turn a call: deltas to send, seconds to wait, errors to raise. The last turn repeats."""

    name = "scripted"

    def __init__(self, *turns: Turn) -> None:
        self.turns = turns
        self.requests: list[Request] = []
        self.closed = 0

    async def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        turn = self.turns[min(len(self.requests), len(self.turns) - 1)]
        self.requests.append(request)
        if trail:
            trail.add(Attempt(self.name, "m", outcome="ok"))
        try:
            for part in turn:
                if isinstance(part, float):
                    await asyncio.sleep(part)
                elif isinstance(part, Exception):
                    raise part
                else:
                    yield part if isinstance(part, StreamChunk) else StreamChunk(b"", (part,))
        finally:
            self.closed += 1

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        raise NotImplementedError

    async def models(self) -> list[ModelInfo]:
        raise NotImplementedError

    async def aclose(self) -> None:
        raise NotImplementedError


def call(name: str, arguments: str = "{}", *, index: int = 0, id: str = "") -> Delta:  # noqa: A002 - the field's name
    return Delta(tool_calls=(ToolCallDelta(index, id or f"call_{index}", name, arguments),))


def says(text: str, finish: str = "stop") -> list[Delta]:
    return [Delta(text=text), Delta(finish_reason=finish)]


def calls(*names: str, finish: str = "tool_calls") -> list[Delta]:
    return [*(call(name, index=index) for index, name in enumerate(names)), Delta(finish_reason=finish)]


async def events_of(backend: Scripted, tools: ToolRegistry, **options: Any) -> list[Event]:
    async with aclosing(loop.run(backend, Request.chat(QUESTION), tools, **options)) as events:
        return [event async for event in events]


async def result_of(backend: Scripted, tools: ToolRegistry, **options: Any) -> AgentResult:
    return await loop.complete(backend, Request.chat(QUESTION), tools, **options)
