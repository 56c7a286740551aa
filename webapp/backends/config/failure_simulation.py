"""Simulate failures of backends (the fire drill): down, slow, or refused. The real chain runs over simulated servers.

Nothing is sent, and the live breakers are not affected.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from webapp.backends.config.snapshot import RouteRow, Snapshot
from webapp.backends.runtime.cooldowns import Row
from webapp.patterns import errors
from webapp.patterns.backend import Timeouts
from webapp.patterns.errors import BackendError, PatternError
from webapp.patterns.fallback.breakers import MemoryBreakers
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.openai.attempt_recorder import Recorder
from webapp.patterns.types import Attempt, AttemptLog, Delta, ModelInfo, Request, Response, StreamChunk

Failure = Callable[[Timeouts], BackendError]
CONDITIONS: Final[Mapping[str, tuple[str, Failure | None]]] = {
    "": ("answers", None),
    "down": ("is down", lambda _: errors.Unreachable("Connection refused.")),
    "slow": ("is too slow", lambda limits: errors.TimedOut(f"No first token within {limits.first_token:g} s.")),
    "429": ("refuses: too many requests (429)", lambda _: errors.RateLimited("Too many requests.", status=429, retry_after=30)),
    "500": ("fails (500)", lambda _: errors.ServerFailed("Internal server error.", status=500)),
    "401": ("refuses its key (401)", lambda _: errors.AuthenticationFailed("Incorrect API key.", status=401)),
    "quota": ("has no quota left", lambda _: errors.QuotaExhausted("The quota is exhausted.", status=429)),
    "404": ("lacks the model (404)", lambda _: errors.ModelMissing("There is no such model.", status=404)),
    "overflow": ("says the request is too long", lambda _: errors.ContextOverflow("The request is longer than the window.", status=400)),
    "cut": ("breaks off in mid-answer", lambda _: errors.StreamBroken("The connection was cut.")),
}
"""Simulated conditions by name: (description, the error it raises)."""
HELLO = Request.chat([{"role": "user", "content": "Hello"}])
WORDS = StreamChunk(b"", (Delta(text="Hello"),))
END = StreamChunk(b"", (Delta(finish_reason="stop"),))


@dataclass
class Pretender:
    """A simulated server without a network."""

    name: str
    condition: str
    timeouts: Timeouts
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    base_url: str = ""

    async def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk, None]:
        """Fail as the chosen condition fails."""
        failure = CONDITIONS[self.condition][1]
        with Recorder(Attempt(self.name, str(request.body.get("model", ""))), trail, None) as record:
            if failure and self.condition != "cut":
                raise failure(timeouts or self.timeouts)
            record.saw(WORDS)
            yield WORDS
            if failure:
                raise failure(timeouts or self.timeouts)
            yield END

    async def send(self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None) -> Response:
        """Fail as the chosen condition fails."""
        async for _packet in self.stream(request, trail=trail, timeouts=timeouts):
            pass
        return Response(b"{}", {})

    async def models(self) -> list[ModelInfo]:
        """Return no models."""
        return []

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


@dataclass(frozen=True, slots=True)
class Drill:
    """The outcome: the attempts, the answering backend (None if all failed), and the error that the caller would get."""

    attempts: tuple[Attempt, ...]
    served_by: Attempt | None
    told: str = ""


async def drill(route: RouteRow, snapshot: Snapshot, conditions: Mapping[int, str], cooling: list[Row] | None = None) -> Drill:
    """Run a request through `route` with these backends in these conditions and the others healthy.

    Args:
        cooling: initial cool-downs, copied from live traffic; none for a fresh start.
    """
    from django.utils import timezone

    breakers = MemoryBreakers()
    for row in cooling or ():
        breakers.cool(row.key, max((row.until - timezone.now()).total_seconds(), 0), row.why)
    chain = Chain(route.name, _steps(route, snapshot, conditions), breakers=breakers, mid_stream=route.mid_stream, budget_seconds=0)
    trail = AttemptLog()
    told = ""
    try:
        async for _packet in chain.stream(HELLO, trail=trail):
            pass
    except PatternError as error:
        told = error.message
    served = trail.served_by if not told or any(one.outcome == "partial" for one in trail.attempts) else None
    return Drill(tuple(trail.attempts), served, told)


def _steps(route: RouteRow, snapshot: Snapshot, conditions: Mapping[int, str]) -> list[Step]:
    return [
        Step(
            Pretender(row.name, conditions.get(row.id, ""), Timeouts(*row.timeouts), row.capabilities),
            step.model,
            first_token_timeout=step.first_token_timeout,
            idle_timeout=step.idle_timeout,
            window=step.window,
            unusable=f"The backend is not used: {row.unusable}." if row.unusable else "",
        )
        for step in route.steps
        for row in [snapshot.backends[step.backend]]
    ]
