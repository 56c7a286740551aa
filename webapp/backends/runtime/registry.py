"""Resolve a model name to a live chain of backends without a query.

Each process keeps one connection pool per backend and a snapshot of the configuration. A change raises the configuration's version
(signals.py). Every process compares it each `CHECK_SECONDS`, so a change is effective everywhere within 5 s, and at once in the process
that made it. Connections belong to an event loop, so the state is kept per loop: the server has one, and a command creates its own.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

from django.db import Error

from webapp.backends.config import snapshot
from webapp.backends.config.snapshot import Person, RouteRow, Snapshot
from webapp.backends.rollouts import mirroring
from webapp.backends.runtime import connection_pools, cooldowns, learned, moved_sessions
from webapp.backends.runtime.attempt_recorder import Origin, Recorder
from webapp.backends.runtime.budgets import spending
from webapp.backends.runtime.cooldowns import Exchange, Outgoing, Row
from webapp.core.background import run_tasks
from webapp.core.database import in_database
from webapp.patterns.errors import BackendError, Forbidden, ModelNotFound, PatternError, Scope
from webapp.patterns.types import AttemptLog

if TYPE_CHECKING:
    from webapp.patterns.fallback.chain import Chain, Step
    from webapp.patterns.openai.backend import OpenAIBackend

logger = logging.getLogger("patchbay.backends")
CHECK_SECONDS = 2.0
CHECK_ACCOUNT_SECONDS = 5.0
REFUSED_SECONDS = 300.0
"""Pause of a backend that refuses its model list for a reason of its own."""
MAX_CHAINS = 1000
BUILTIN = "builtin"
"""The preset of the built-in backend."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A model name that a user may pick. `window` is in tokens if known. `up` is the known health of its backends.

    Attributes:
        prices: of a million prompt and completion tokens, where they are known.
        builtin: only the built-in backend serves it, which is not a language model.
    """

    name: str
    kind: Literal["route", "model"]
    description: str = ""
    window: int | None = None
    up: bool = True
    chat: bool = True
    embeddings: bool = False
    builtin: bool = False
    prices: tuple[float, float] | None = None


class Registry:
    """The live state of one event loop."""

    def __init__(self) -> None:
        self.mirrors = mirroring.Mirrors(self._candidate, self._record_copy)
        self.recorder = Recorder(self.mirrors)
        self.health: dict[int, tuple[str, str]] = {}
        self._snapshot: Snapshot | None = None
        self._checked = float("-inf")
        self._changes = 0
        self._changes_seen = -1
        self._serviced = False
        self._pools = connection_pools.Pools(on_flag=self._account_refused, on_learned=self._repair_learned)
        self._learning: set[asyncio.Task[None]] = set()
        self._account_checks: dict[str, asyncio.Task[None]] = {}
        self._chains: dict[tuple[str, Any, bool], Chain] = {}
        self._exchange = Exchange(self._pools.breakers)
        self._sessions = moved_sessions.Exchange(self._pools.balancers)
        self._lock = asyncio.Lock()

    def states(self) -> dict[str, str]:
        """Return the known health of each backend by name."""
        rows = self._snapshot.backends if self._snapshot else {}
        return {rows[key].name: state for key, (state, _why) in self.health.items() if key in rows}

    def stale(self) -> None:
        """Compare versions before the next use."""
        self._changes += 1

    async def snapshot(self) -> Snapshot:
        """Return the configuration, at most `CHECK_SECONDS` old. If the database is down, the last one stays in force.

        With the service, the comparison runs in the background, so no request waits for a slow database.
        """
        if self._serviced and self._snapshot is not None and self._changes_seen == self._changes:
            return self._snapshot
        return await self.refresh(max_age=CHECK_SECONDS)

    async def refresh(self, *, max_age: float = 0.0) -> Snapshot:
        """Return the configuration after a comparison with the database, unless one was made within `max_age` seconds."""
        if self._snapshot is None or self._is_old(max_age):
            async with self._lock:
                if self._snapshot is None or self._is_old(max_age):
                    self._snapshot = await self._check()
        return self._snapshot

    def _is_old(self, max_age: float) -> bool:
        return self._changes_seen != self._changes or time.monotonic() - self._checked > max_age

    async def _check(self) -> Snapshot:
        begun, changes = time.monotonic(), self._changes
        try:
            fresh, self.health, cooling = await in_database(_read, self._snapshot, self._exchange.outgoing())
            self._exchange.take(cooling)
            if (moves := self._sessions.outgoing()) is not None:
                self._sessions.take(await in_database(moved_sessions.swap, moves))
        except Error as error:
            if self._snapshot is None:
                raise
            logger.error("The database is away, the configuration stays as it was: %s", error)  # noqa: TRY400 - every few seconds
            self._exchange.unpublished()
            fresh = self._snapshot
        if fresh is not self._snapshot:
            self._pools.adopt(fresh)
            learned.adopt(fresh.learned)
            self._chains.clear()
        self._checked, self._changes_seen = begun, changes  # a change meanwhile makes it old
        return fresh

    async def resolve(self, model: str, user: Person | None) -> Chain:
        """Resolve a name without the budget check. Chains have no state, so one serves all callers until the configuration changes."""
        snapshot = await self.snapshot()
        key = (model, user and user.pk, user is None or user.is_superuser)
        chain = self._chains.get(key)
        if chain is None:
            chain = self._pools.chain(snapshot.plan(model, user), snapshot, caller="" if user is None else str(user.pk))
            if len(self._chains) >= MAX_CHAINS:  # callers can invent names
                self._chains.clear()
            self._chains[key] = chain
        return chain

    async def steps(self, plan: RouteRow) -> list[Step]:
        """Return the steps of a plan over the live backends."""
        return self._pools.steps(plan, await self.refresh())

    async def backend(self, key: int | str) -> OpenAIBackend:
        """Return the client of a backend by id or name, or raise `ModelNotFound`."""
        current = await self.snapshot()
        row = current.backends.get(key) if isinstance(key, int) else current.named(key)
        if row is None:
            raise ModelNotFound(f"There is no backend {key!r}.")
        return self._pools.backend(row)

    async def _candidate(self, route: str) -> tuple[int, Chain] | None:
        """Return the rollout of a route's mirror and its candidate as a chain; None if it has ended or the candidate has no room."""
        current = await self.snapshot()
        plan = current.routes.get(route)
        row = current.backends.get(plan.mirror.step.backend) if plan and plan.mirror else None
        if plan is None or plan.mirror is None or row is None or row.unusable or self._pools.backend(row).is_full:
            return None
        return plan.mirror.id, self._pools.chain(RouteRow(name=f"mirror of {route}", steps=(plan.mirror.step,)), current)

    def _record_copy(self, trail: AttemptLog, route: str) -> None:
        """Store the attempts of a mirrored request: they belong to no user, so nobody is billed."""
        self.recorder.put(Origin.clean("mirror", None, None, route, "chat/completions"), trail, uuid.uuid4())

    def _account_refused(self, name: str, _error: BackendError) -> None:
        """Ask the backend's model list whether its key or account is refused altogether; if so, pause all its models."""
        if name not in self._account_checks:
            task = self._account_checks[name] = asyncio.get_running_loop().create_task(self._check_account(name))
            task.add_done_callback(lambda _: self._account_checks.pop(name, None))

    async def _check_account(self, name: str) -> None:
        try:
            async with asyncio.timeout(CHECK_ACCOUNT_SECONDS):
                await (await self.backend(name)).models()
        except (PatternError, TimeoutError) as error:
            if isinstance(error, BackendError):
                self.close_account(name, error)

    def _repair_learned(self, backend: int, model: str, repair: str, why: str) -> None:
        task = asyncio.get_running_loop().create_task(in_database(learned.record_repair, backend, model, repair, why))
        self._learning.add(task)
        task.add_done_callback(self._learning.discard)

    def close_account(self, name: str, error: BackendError) -> None:
        """Pause a backend whose model list refuses the key. The list does not depend on any user's request."""
        if error.scope is Scope.ACCOUNT or isinstance(error, Forbidden):
            self._pools.breakers.cool(name, error.wait or REFUSED_SECONDS, error.message)

    @asynccontextmanager
    async def refresh_loop(self) -> AsyncGenerator[None, None]:
        """Compare versions and write attempts behind until cancelled."""
        async with run_tasks(configuration=self._keep_fresh), self.recorder.running():
            yield

    async def _keep_fresh(self) -> None:
        self._serviced = True
        try:
            while True:
                await self.refresh()
                await asyncio.sleep(CHECK_SECONDS * 0.75)
        finally:
            self._serviced = False  # afterwards requests compare by themselves

    async def aclose(self) -> None:
        """Finish the pending writes and close all clients."""
        await asyncio.gather(*self._learning, return_exceptions=True)
        for check in list(self._account_checks.values()):
            check.cancel()
        await asyncio.gather(*self._account_checks.values(), return_exceptions=True)
        await self.mirrors.aclose()
        await self.recorder.flush()
        await self._pools.aclose()


def _read(known: Snapshot | None, news: Outgoing) -> tuple[Snapshot, dict[int, tuple[str, str]], list[Row]]:
    """Return the snapshot (a new one if the version changed), the health of all backends, and the cool-downs of all processes."""
    cooldowns.publish(news)
    same = known is not None and snapshot.version() == known.version
    return (known if known is not None and same else snapshot.load()), snapshot.load_health(), cooldowns.rows()


_registries: WeakKeyDictionary[asyncio.AbstractEventLoop, Registry] = WeakKeyDictionary()
_registries_lock = threading.Lock()
"""Loops also run in threads of their own (jobs.py)."""


def current() -> Registry:
    """Return the registry of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _registries.get(loop)
    if found is None:
        with _registries_lock:
            found = _registries[loop] = Registry()
    return found


def registries() -> list[Registry]:
    """Return the registries of all event loops of this process."""
    with _registries_lock:
        return list(_registries.values())


def stale() -> None:
    """Report a change of the configuration, so that the next use compares again. Safe from any thread."""
    for registry in registries():
        registry.stale()


async def resolve(model: str, *, user: Person | None) -> Chain:
    """Return the chain for a model name: a route, then `backend/model`, then a bare id that enabled backends offer.

    Args:
        user: None for Patchbay itself, which may use everything.

    Raises:
        ModelNotFound: no such model.
        ModelForbidden: the user may not use it under any name.
        BudgetSpent: the user's budget is used up.
    """
    chain = await current().resolve(model, user)
    if user is not None:
        await spending.check(user.pk)
    return chain


async def backend(key: int | str) -> OpenAIBackend:
    """Return the live backend of an id or a name, for non-completion calls: models, files, batches, probes.

    Raises:
        ModelNotFound: no such backend.
        Unreachable: it is disabled, or its key is lost.
    """
    return await current().backend(key)


async def steps(plan: RouteRow) -> list[Step]:
    """Return the steps of a plan that need not be a stored route, over the live backends.

    Raises:
        KeyError: a step names a backend that does not exist.
    """
    return await current().steps(plan)


async def offered(user: Person | None) -> list[Offered]:
    """Return the names that the user may pick: routes in their order, then each usable backend's models as `backend/model`."""
    registry = current()
    known = await registry.snapshot()
    routes = [_offered_route(registry, known, route) for route in known.routes.values() if route.enabled and route.allows(user)]
    models = [
        Offered(
            name=f"{row.name}/{model.name}",
            kind="model",
            window=model.window,
            up=_up(registry, row.id),
            chat=model.capabilities.get("chat", True),
            embeddings=model.capabilities.get("embeddings", False),
            builtin=row.preset == BUILTIN,
            prices=model.prices or row.prices,
        )
        for row, model in known.direct(user)
    ]
    return routes + models


def _offered_route(registry: Registry, known: Snapshot, route: RouteRow) -> Offered:
    steps = [(step, known.backends[step.backend]) for step in route.steps]
    models = [row.models.get(step.model) for step, row in steps]
    windows = [step.window or (model.window if model else None) for (step, _), model in zip(steps, models, strict=True)]
    return Offered(
        name=route.name,
        kind="route",
        description=route.description,
        window=max((window for window in windows if window), default=None),
        up=any(not row.unusable and _up(registry, row.id) for _, row in steps),
        chat=any(model is None or model.capabilities.get("chat", True) for model in models),
        embeddings=any(model is not None and model.capabilities.get("embeddings", False) for model in models),
        builtin=all(row.preset == BUILTIN for _, row in steps),
    )


def _up(registry: Registry, backend_id: int) -> bool:
    return registry.health.get(backend_id, ("unknown", ""))[0] != "down"


def record(
    trail: AttemptLog,
    *,
    request_id: uuid.UUID | str,
    source: str,
    user_id: int | None,
    token_id: int | None = None,
    route: str,
    endpoint: str = "chat/completions",
) -> None:
    """Queue the attempts of a finished request for a bulk write. Never blocks, and never raises a database error."""
    request_id = request_id if isinstance(request_id, uuid.UUID) else uuid.UUID(request_id)
    recording(source=source, user_id=user_id, token_id=token_id, route=route, endpoint=endpoint)(trail, request_id)


def recording(
    *, source: str, user_id: int | None, token_id: int | None = None, route: str, endpoint: str
) -> Callable[[AttemptLog, uuid.UUID], None]:
    """Return `record` for many requests of one origin on this event loop."""
    return functools.partial(current().recorder.put, Origin.clean(source, user_id, token_id, route, endpoint))


async def reset_breaker(name: str) -> None:
    """Retry a backend with the next request, here at once and in other processes within seconds."""
    await in_database(cooldowns.reset, name)
    current().stale()


async def flush() -> None:
    """Write everything that `record` has queued. For processes that end (workers, commands)."""
    await current().recorder.flush()


async def aclose() -> None:
    """Write everything queued and close all connections of this event loop."""
    with _registries_lock:
        registry = _registries.pop(asyncio.get_running_loop(), None)
    if registry:
        await registry.aclose()


@asynccontextmanager
async def service() -> AsyncGenerator[None, None]:
    """Keep the snapshot fresh and write attempts behind, as a background service."""
    try:
        async with current().refresh_loop():
            yield
    finally:
        await aclose()
