"""Tools that ask the backends: which models are there, and how fast one is."""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING

from webapp.backends.runtime import rate_limits, registry
from webapp.backends.runtime.budgets import spending
from webapp.patterns.agent import builtin_tools
from webapp.patterns.agent.tools import Tool, ToolContext, ToolError, ToolRegistry
from webapp.patterns.backend import Backend
from webapp.patterns.types import AttemptLog, Json, ModelInfo, Request, Response, StreamChunk

if TYPE_CHECKING:
    from webapp.accounts.models import User


async def list_backends(me: ToolContext) -> list[Json]:
    """List the models that the user can talk to: routes first, then single backends, and whether they are up."""
    offered = await registry.offered(await _user(me))
    return [{"model": each.name, "kind": each.kind, "up": each.up, "window": each.window} for each in offered]


async def resolve(model: str, me: ToolContext) -> Backend:
    """Return the chain for a model name that the user may use. Its attempts are recorded as the user's."""
    user = await _user(me)
    return _Recorded(await registry.resolve(model, user=user), model, user.pk)


async def _user(me: ToolContext) -> User:
    from webapp.accounts.models import User

    user = await User.objects.filter(pk=me.user_id, is_active=True).afirst() if me.user_id is not None else None
    if user is None:
        raise ToolError("This tool works only for a user who is signed in.")
    return user


class _Recorded:
    """Admit each request of a backend within the user's limits, and record its attempts as the user's spending."""

    def __init__(self, backend: Backend, route: str, user_id: int) -> None:
        self.name = backend.name
        self._backend = backend
        self._route = route
        self._user_id = user_id

    async def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        trail = trail if trail is not None else AttemptLog()
        async with self._admitted(trail), aclosing(self._backend.stream(request, trail=trail)) as packets:
            async for packet in packets:
                yield packet

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        trail = trail if trail is not None else AttemptLog()
        async with self._admitted(trail):
            return await self._backend.send(request, trail=trail)

    @asynccontextmanager
    async def _admitted(self, trail: AttemptLog) -> AsyncGenerator[None]:
        """Raise `LimitReached` or `BudgetSpent` before the request; record and count it after."""
        await spending.check(self._user_id)
        admission = await rate_limits.admit(self._user_id)
        try:
            yield
        finally:
            registry.record(trail, request_id=uuid.uuid4(), source="test", user_id=self._user_id, route=self._route)
            await admission.settle(trail)

    async def models(self) -> list[ModelInfo]:
        return await self._backend.models()

    async def aclose(self) -> None:
        await self._backend.aclose()


def register(toolbox: ToolRegistry) -> None:
    """Add the tools that ask backends."""
    toolbox.register(Tool(list_backends))
    toolbox.register(builtin_tools.run_benchmark(resolve))
