"""A backend that plays a script, for tests of the tool loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from webapp.patterns import agent
from webapp.patterns.agent import (
    Event,
    Result,
)
from webapp.patterns.tools import ToolRegistry
from webapp.patterns.types import Answer, Attempt, Delta, Message, ModelInfo, Packet, Request, ToolCallDelta, Trail

Turn = Sequence[Delta | Packet | Exception | float]
QUESTION: list[Message] = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Well?"}]


class Scripted:
    """A backend that plays a turn a call: deltas to send, seconds to wait, errors to raise. The last turn repeats."""

    name = "scripted"

    def __init__(self, *turns: Turn) -> None:
        self.turns = turns
        self.requests: list[Request] = []
        self.closed = 0

    async def stream(self, request: Request, *, trail: Trail | None = None) -> AsyncGenerator[Packet, None]:
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
                    yield part if isinstance(part, Packet) else Packet(b"", (part,))
        finally:
            self.closed += 1

    async def send(self, request: Request, *, trail: Trail | None = None) -> Answer:
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
    async with aclosing(agent.run(backend, Request.chat(QUESTION), tools, **options)) as events:
        return [event async for event in events]


async def result_of(backend: Scripted, tools: ToolRegistry, **options: Any) -> Result:
    return await agent.complete(backend, Request.chat(QUESTION), tools, **options)
