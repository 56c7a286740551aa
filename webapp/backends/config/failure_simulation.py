"""Simulate the load and the failures of a route. The real chain runs over simulated servers.

Nothing is sent, and the live breakers are not affected.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from webapp.backends.config.snapshot import RouteRow, Snapshot
from webapp.backends.runtime.cooldowns import Row
from webapp.patterns import errors
from webapp.patterns.backend import Timeouts
from webapp.patterns.errors import BackendError, PatternError
from webapp.patterns.fallback import balancing
from webapp.patterns.fallback.balancing import LoadBalancer, LoadTracker
from webapp.patterns.fallback.breakers import Breakers, MemoryBreakers
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.openai.attempt_recorder import Recorder
from webapp.patterns.types import Attempt, AttemptLog, Delta, ModelInfo, Request, Response, StreamChunk

Failure = Callable[[Timeouts], BackendError]
CONDITIONS: Final[Mapping[str, tuple[str, Failure | None]]] = {
    "": ("answers", None),
    "full": ("is full", None),
    "down": ("is down", lambda _: errors.Unreachable("Connection refused.")),
    "slow": ("is too slow", lambda limits: errors.TimedOut(f"No first token within {limits.first_token:g} s.")),
    "429": ("refuses: too many requests (429)", lambda _: errors.RateLimited("Too many requests.", status=429, retry_after=30)),
    "500": ("fails (500)", lambda _: errors.ServerFailed("Internal server error.", status=500)),
    "401": ("refuses its key (401)", lambda _: errors.AuthenticationFailed("Incorrect API key.", status=401)),
    "quota": ("has no quota left", lambda _: errors.QuotaExhausted("The quota is exhausted.", status=429)),
    "404": ("lacks the model (404)", lambda _: errors.ModelMissing("There is no such model.", status=404)),
    "overflow": ("says the request is too long", lambda _: errors.ContextOverflow("The request is longer than the window.", status=400)),
    "rejected": ("rejects the request (400)", lambda _: errors.RequestRejected("The request is not valid.", status=400)),
    "cut": ("breaks off in mid-answer", lambda _: errors.StreamBroken("The connection was cut.")),
}
"""Simulated conditions by name: (description, the error it raises)."""
HELLO = Request.chat([{"role": "user", "content": "Hello"}])
WORDS = StreamChunk(b"", (Delta(text="Hello"),))
END = StreamChunk(b"", (Delta(finish_reason="stop"),))
REQUESTS: Final = 200
AT_ONCE: Final = 8
"""Requests of a simulated load, and how many of them run at a time."""


@dataclass(slots=True)
class SimulatedAttempt(Attempt):
    """An attempt at a simulated server, which says nothing about the real one."""


@dataclass
class SimulatedServer:
    """A server in a condition, without a network."""

    name: str
    condition: str
    timeouts: Timeouts
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    base_url: str = ""

    @property
    def is_full(self) -> bool:
        """Whether another call would wait, so that the chain lets another step of the group go first."""
        return self.condition == "full"

    async def stream(
        self, request: Request, *, trail: AttemptLog | None = None, timeouts: Timeouts | None = None
    ) -> AsyncGenerator[StreamChunk, None]:
        """Fail as the chosen condition fails."""
        failure = CONDITIONS[self.condition][1]
        with Recorder(SimulatedAttempt(self.name, str(request.body.get("model", ""))), trail, None) as record:
            await asyncio.sleep(0)  # lets the other requests of a load choose their step before this one ends
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


class FixedTracker(LoadTracker):
    """Count running calls, but keep the given times to first token: simulated servers answer at once."""

    def answered(self, step: balancing.Step, seconds: float) -> None:
        """Ignore the time of a simulated answer."""

    def know(self, step: balancing.Step, seconds: float) -> None:
        """Set the usual time to first token of a step."""
        super().answered(step, seconds)


@dataclass(frozen=True, slots=True)
class Drill:
    """The outcome of one request: the attempts, the answering step (None if all failed), and the error that the caller would get."""

    attempts: tuple[Attempt, ...]
    served_by: Attempt | None
    told: str = ""


@dataclass(frozen=True, slots=True)
class Share:
    """The part of the simulated requests that a step is asked first, and the part that it answers, from 0 to 1."""

    asked: float
    answered: float


@dataclass(frozen=True, slots=True)
class Load:
    """The outcome of many requests: the share of each step, in the order of the route, and the part that no step answers."""

    shares: tuple[Share, ...]
    unanswered: float


async def drill(route: RouteRow, snapshot: Snapshot, conditions: Sequence[str], cooling: Sequence[Row] = ()) -> Drill:
    """Run one request through `route`.

    Args:
        route: the steps, at least one.
        snapshot: the backends of the steps.
        conditions: the condition of each step, in the order of the route; missing ones answer.
        cooling: initial cool-downs, copied from live traffic.
    """
    steps = simulated_steps(route, snapshot, conditions)
    balancer = LoadBalancer(random=lambda: 0.5)
    chain = Chain(route.name, steps, breakers=breakers_with(cooling), mid_stream=route.mid_stream, budget_seconds=0, balancer=balancer)
    trail = AttemptLog()
    told = await _outcome(chain, HELLO, trail)
    served = trail.served_by if not told or any(one.outcome == "partial" for one in trail.attempts) else None
    return Drill(tuple(trail.attempts), served, told)


async def simulate_load(
    route: RouteRow,
    snapshot: Snapshot,
    conditions: Sequence[str],
    *,
    usual: Mapping[tuple[str, str], float] | None = None,
    cooling: Sequence[Row] = (),
) -> Load:
    """Run `REQUESTS` requests of different conversations through `route`, `AT_ONCE` at a time, and count who answers.

    Args:
        route: the steps, at least one.
        snapshot: the backends of the steps.
        conditions: as for `drill`.
        usual: usual times to first token in seconds, by (backend, model); the balance `fastest` needs them.
        cooling: initial cool-downs, copied from live traffic.
    """
    steps = simulated_steps(route, snapshot, conditions)
    tracker = FixedTracker()
    for step in steps:
        seconds = (usual or {}).get((step.backend.name, step.model))
        if seconds is not None:
            tracker.know(step, seconds)
    chance = random.Random(1).random  # noqa: S311 - the same picture for the same route
    balancer = LoadBalancer(route.balance, sticky=route.sticky, tracker=tracker, random=chance)
    breakers = breakers_with(cooling)
    trails: list[tuple[AttemptLog, str]] = []

    async def ask(number: int) -> None:
        # Every request has a user of its own: breakers open for everyone only after failures of different users.
        chain = Chain(
            route.name,
            steps,
            breakers=breakers,
            mid_stream=route.mid_stream,
            budget_seconds=0,
            balancer=balancer,
            caller=f"user {number}",
        )
        trail = AttemptLog()
        request = replace(Request.chat([{"role": "user", "content": f"Question {number}"}]), session=f"conversation {number}")
        trails.append((trail, await _outcome(chain, request, trail)))

    for start in range(0, REQUESTS, AT_ONCE):
        await asyncio.gather(*(ask(number) for number in range(start, start + AT_ONCE)))
    return _load(steps, trails)


async def _outcome(chain: Chain, request: Request, trail: AttemptLog) -> str:
    """Send a request, and return the error that its caller gets; empty for an answer."""
    try:
        async for _packet in chain.stream(request, trail=trail):
            pass
    except PatternError as error:
        return error.message
    return ""


def _load(steps: Sequence[Step], trails: Sequence[tuple[AttemptLog, str]]) -> Load:
    keys = [step.keys[1] for step in steps]
    asked, answered = [0] * len(steps), [0] * len(steps)
    for trail, told in trails:
        called = [attempt for attempt in trail.attempts if attempt.outcome != "skipped"]
        if called:
            asked[keys.index(_key(called[0]))] += 1
        served = trail.served_by
        if served and not told:
            answered[keys.index(_key(served))] += 1
    total = max(len(trails), 1)
    shares = tuple(Share(first / total, whole / total) for first, whole in zip(asked, answered, strict=True))
    return Load(shares, 1 - sum(answered) / total)


def _key(attempt: Attempt) -> str:
    return f"{attempt.backend}/{attempt.model}"


def breakers_with(cooling: Sequence[Row]) -> Breakers:
    """Return breakers of their own that begin with these cool-downs."""
    from django.utils import timezone

    breakers = MemoryBreakers()
    for row in cooling:
        breakers.cool(row.key, max((row.until - timezone.now()).total_seconds(), 0), row.why)
    return breakers


def simulated_steps(route: RouteRow, snapshot: Snapshot, conditions: Sequence[str]) -> list[Step]:
    """Return the steps of a route over simulated servers in these conditions."""
    found = []
    for number, step in enumerate(route.steps):
        row = snapshot.backends[step.backend]
        condition = conditions[number] if number < len(conditions) else ""
        found.append(
            Step(
                SimulatedServer(row.name, condition, Timeouts(*row.timeouts), row.capabilities),
                step.model,
                first_token_timeout=step.first_token_timeout,
                idle_timeout=step.idle_timeout,
                window=step.window,
                group=step.group,
                weight=step.weight,
                spills=row.preset != "builtin",
                unusable=f"The backend is not used: {row.unusable}." if row.unusable else "",
            )
        )
    return found
