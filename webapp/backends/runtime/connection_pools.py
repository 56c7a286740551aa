"""Keep live backends: one connection pool each for the life of the process, replaced when its configuration changes."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
from django.conf import settings

from webapp.backends.config.snapshot import BackendRow, RouteRow, Snapshot, StepRow
from webapp.backends.rollouts import mirroring
from webapp.core import tracing
from webapp.core.machine_places import MachinePlaces
from webapp.patterns.errors import AllFailed, Unreachable
from webapp.patterns.fallback.balancing import CANARY, LoadBalancer, LoadTracker
from webapp.patterns.fallback.breakers import Breakers, MemoryBreakers

if TYPE_CHECKING:
    from webapp.patterns.fallback.chain import Chain, Step
    from webapp.patterns.fallback.execution import Flag
    from webapp.patterns.openai.backend import OpenAIBackend
    from webapp.patterns.types import AttemptLog

OnLearned = Callable[[int, str, str, str], None]
"""(id of the backend, model, repair, the refusal in words)."""
RETIRE_SECONDS = 900.0
"""Seconds that the old pool of a changed backend stays open for its running streams."""


class Pools:
    """The live backends of one event loop, by their configuration row."""

    def __init__(self, on_flag: Flag | None = None, on_learned: OnLearned | None = None) -> None:
        self.breakers: Breakers = MemoryBreakers()
        self._on_flag = on_flag
        self._on_learned = on_learned
        self._live: dict[int, tuple[BackendRow, OpenAIBackend]] = {}
        self._tracker = LoadTracker()
        self.balancers: dict[str, LoadBalancer] = {}
        self._retiring: set[asyncio.Task[None]] = set()

    def backend(self, row: BackendRow) -> OpenAIBackend:
        """Return the live backend of a row.

        Raises:
            Unreachable: it may not be used.
        """
        if row.unusable:
            raise Unreachable(f"The backend {row.name} is not used: {row.unusable}.")
        return self._kept(row)

    def _kept(self, row: BackendRow) -> OpenAIBackend:
        kept = self._live.get(row.id)
        if kept and kept[0] == row:
            return kept[1]
        if kept:
            self._retire(kept[1])
        built = build(row, self._on_learned)
        self._live[row.id] = (row, built)
        return built

    def adopt(self, fresh: Snapshot) -> None:
        """Release backends that were deleted or changed."""
        for key, (row, backend) in list(self._live.items()):
            current = fresh.backends.get(key)
            if current is None or current != row:
                del self._live[key]
                self._retire(backend)
            else:
                backend.adaptations.replace(current.repairs)

    def _retire(self, backend: OpenAIBackend) -> None:
        task = asyncio.get_running_loop().create_task(_close_later(backend))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def chain(self, plan: RouteRow, snapshot: Snapshot, *, caller: str = "") -> Chain:
        """Return the steps of a plan as a chain; it passes over steps whose backend may not be used, with the reason in the attempt log."""
        from webapp.patterns.fallback.chain import Chain

        if not plan.steps:
            raise AllFailed(f"The route {plan.name!r} has no steps yet: an administrator adds them in the configuration.")
        steps = self.steps(plan, snapshot)
        if plan.canary:
            steps.append(self._step(replace(plan.canary.step, group=CANARY), snapshot.backends[plan.canary.step.backend]))
        return Chain(
            plan.name,
            steps,
            mid_stream=plan.mid_stream,
            hedge_ms=plan.hedge_ms,
            breakers=self.breakers,
            on_flag=self._on_flag,
            caller=caller,
            balancer=self._balancer(plan),
            on_start=_on_start(plan),
        )

    def steps(self, plan: RouteRow, snapshot: Snapshot) -> list[Step]:
        """Return the steps of a plan over the live backends."""
        return [self._step(step, snapshot.backends[step.backend]) for step in plan.steps]

    def _balancer(self, plan: RouteRow) -> LoadBalancer:
        """Return the balancer of a route. It outlives its chains, since each caller has a chain and all share the load."""
        found = self.balancers.get(plan.name)
        if found is None or (found.balance, found.sticky) != (plan.balance, plan.sticky):
            found = LoadBalancer(plan.balance, sticky=plan.sticky, tracker=self._tracker)
            if plan.balance != "ordered" or plan.sticky:
                self.balancers[plan.name] = found
        found.canary_share = plan.canary.share if plan.canary else 0.0
        return found

    def _step(self, step: StepRow, row: BackendRow) -> Step:
        from webapp.patterns.fallback.chain import Step

        model = row.models.get(step.model)
        return Step(
            self._kept(row),
            step.model,
            first_token_timeout=step.first_token_timeout,
            idle_timeout=step.idle_timeout,
            group=step.group,
            weight=step.weight,
            spills=row.preset != "builtin",
            window=step.window or (model.window if model else None),
            capabilities={**row.capabilities, **(model.capabilities if model else {})},
            unusable=f"The backend is not used: {row.unusable}." if row.unusable else "",
        )

    async def aclose(self) -> None:
        """Close all connections, including those of retired backends."""
        for task in list(self._retiring):
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        await asyncio.gather(*(backend.aclose() for _row, backend in self._live.values()))
        self._live.clear()


def _on_start(plan: RouteRow) -> Callable[[AttemptLog], None] | None:
    """Return the function that asks for the texts of answers: for copies of a mirror, or for traces."""
    if plan.mirror is None:
        return tracing.keep_answer if tracing.captures_content() else None
    sample = mirroring.sampler(plan.mirror.share)

    def start(trail: AttemptLog) -> None:
        sample(trail)
        if tracing.captures_content():
            tracing.keep_answer(trail)

    return start


async def _close_later(backend: OpenAIBackend) -> None:
    try:
        await asyncio.sleep(RETIRE_SECONDS)
    finally:
        await backend.aclose()


def builtin_transport() -> httpx2.AsyncBaseTransport:
    """Return the transport to the built-in backend: HTTP, in process."""
    from webapp.builtin.asgi import application
    from webapp.builtin.transport import InProcess

    return InProcess(application)


def build(row: BackendRow, on_learned: OnLearned | None = None) -> OpenAIBackend:
    """Return a live backend with connections of its own."""
    from webapp.patterns.backend import Timeouts
    from webapp.patterns.openai.attempt_recorder import Prices
    from webapp.patterns.openai.backend import OpenAIBackend
    from webapp.patterns.openai.repairs import Adaptations

    connect, first_token, idle = row.timeouts
    return OpenAIBackend(
        row.name,
        row.base_url,
        api_key=row.key,
        headers=dict(row.headers),
        timeouts=Timeouts(connect=connect, first_token=first_token, idle=idle),
        max_concurrency=row.max_concurrency,
        slots=_shared_slots(row),
        prices=Prices(*row.prices) if row.prices else None,
        model_prices={name: Prices(*prices) for name, prices in row.model_prices},
        capabilities=dict(row.capabilities),
        adaptations=Adaptations(row.repairs, functools.partial(on_learned, row.id) if on_learned else None),
        http_client=httpx2.AsyncClient(transport=builtin_transport()) if row.preset == "builtin" else None,
    )


def _shared_slots(row: BackendRow) -> MachinePlaces | None:
    """Return the slots of a backend that the processes of `up --workers N` share; None for a single process."""
    if row.max_concurrency is None or settings.WORKERS == 1:
        return None
    return MachinePlaces(Path(settings.PATCHBAY_HOME) / "workers" / "places" / str(row.id), row.max_concurrency)
