"""Load the configuration as plain values at once. The registry decides from them without a query, including who may use what."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal, Protocol, cast

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Prefetch
from django.utils import timezone

from webapp.backends.config import limits
from webapp.backends.config.addresses import is_key_variable, with_key
from webapp.backends.config.crypto import KeyLost
from webapp.backends.config.limits import Limits
from webapp.backends.config.presets import PRESETS
from webapp.backends.models import Backend, BackendModel, ConfigState, Health, Learned, Rollout, Route, RouteStep
from webapp.core import env
from webapp.patterns.errors import ModelForbidden, ModelNotFound
from webapp.patterns.fallback.balancing import Balance

FACTS_KEPT = timedelta(days=30)
"""Time without confirmation after which a learned fact expires, because servers change behind their names."""
MidStream = Literal["stop", "restart", "continue"]


class Person(Protocol):
    """The facts about a user that the rules need."""

    pk: Any
    is_superuser: bool


@dataclass(frozen=True, slots=True)
class ModelRow:
    """Hold the configuration of one model."""

    name: str
    window: int | None
    capabilities: Mapping[str, bool]
    prices: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class BackendRow:
    """A backend in the form that the registry builds. `unusable` is the reason to skip it; empty if it may be used."""

    id: int
    name: str
    preset: str
    base_url: str
    key: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    timeouts: tuple[float, float, float]
    max_concurrency: int | None
    prices: tuple[float, float] | None
    model_prices: tuple[tuple[str, tuple[float, float]], ...]
    capabilities: Mapping[str, bool]
    unusable: str
    models: Mapping[str, ModelRow] = field(compare=False)
    """Excluded from comparison: a changed model list must not open new connections."""
    repairs: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)
    """The repairs that requests to a model need, by model."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A learned fact (`models.Learned`). `last_seen` in seconds since the epoch."""

    backend: str
    model: str
    kind: str
    name: str
    value: float | None
    observations: int
    read_up_to: int
    last_seen: float


@dataclass(frozen=True, slots=True)
class StepRow:
    """Hold the configuration of one step."""

    backend: int
    model: str
    first_token_timeout: float | None = None
    idle_timeout: float | None = None
    window: int | None = None
    group: int = 0
    weight: int = 1


@dataclass(frozen=True, slots=True)
class RolloutRow:
    """A running rollout: its candidate gets `share` (0 to 1) of the route's requests."""

    id: int
    step: StepRow
    share: float


@dataclass(frozen=True, slots=True)
class RouteRow:
    """A route. `allowed` holds the ids of the users who may use it; None for everyone."""

    name: str
    description: str = ""
    enabled: bool = True
    mid_stream: MidStream = "stop"
    hedge_ms: int | None = None
    balance: Balance = "ordered"
    sticky: bool = False
    allowed: frozenset[int] | None = None
    steps: tuple[StepRow, ...] = ()
    mirror: RolloutRow | None = None
    canary: RolloutRow | None = None

    def allows(self, user: Person | None) -> bool:
        """Return whether the user may pick the route. None is Patchbay itself. Administrators may use every route."""
        return user is None or self.allowed is None or user.is_superuser or user.pk in self.allowed


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole configuration at one version. `backends` and `routes` have the administrator's order."""

    version: int
    backends: Mapping[int, BackendRow]
    routes: Mapping[str, RouteRow]
    limits: Limits = field(default_factory=Limits)
    learned: tuple[Fact, ...] = ()

    def plan(self, model: str, user: Person | None) -> RouteRow:
        """Return the steps for a model name: a route, `backend/model`, or a bare id that backends offer, in this order.

        Raises:
            ModelForbidden: the user may not use the model under any name.
            ModelNotFound: no such model.
        """
        route = self.routes.get(model)
        if route and route.enabled:
            if not route.allows(user):
                raise ModelForbidden(f"You may not use the model {model!r}: ask an administrator for access to this route.")
            return route
        steps = self._named(model) or self._bare(model)
        allowed = tuple(step for step in steps if self._usable(user, step.backend)(step.model))
        if allowed:
            return RouteRow(name=model, steps=allowed)
        if steps:
            raise ModelForbidden(f"You may not use the model {model!r}: ask an administrator for access to its route.")
        raise ModelNotFound(
            f"The model {model!r} does not exist: no route, no backend/model and no model of an enabled backend has that name."
        )

    def _named(self, model: str) -> tuple[StepRow, ...]:
        name, slash, rest = model.partition("/")
        row = self.named(name) if slash and rest else None
        return (StepRow(row.id, rest),) if row else ()

    def _bare(self, model: str) -> tuple[StepRow, ...]:
        return tuple(StepRow(row.id, model) for row in self.backends.values() if model in row.models and not row.unusable)

    def named(self, name: str) -> BackendRow | None:
        """Return the backend of that name, or None."""
        return next((row for row in self.backends.values() if row.name == name), None)

    def _usable(self, user: Person | None, backend: int) -> Callable[[str], bool]:
        """Return the models of a backend that the user may call directly.

        A model behind restricted routes is open to users of one of those routes. Servers accept more names for a model than they list. So
        if a backend has a model that is closed to the user, only listed models that are certainly different stay open.
        """
        if user is None or user.is_superuser:
            return lambda _model: True
        opened, closed = self._behind(backend, user, allowed=True), self._behind(backend, user, allowed=False)
        listed = self.backends[backend].models
        known = closed <= {canonical(name) for name in listed}

        def usable(model: str) -> bool:
            name = canonical(model)
            return name in opened or not closed or (known and model in listed and name not in closed)

        return usable

    def _behind(self, backend: int, user: Person, *, allowed: bool) -> set[str]:
        """Return the models of a backend behind enabled routes that the user may use, or behind those that the user may not."""
        routes = (r for r in self.routes.values() if (r.enabled and r.allows(user) if allowed else not r.allows(user)))
        return {canonical(step.model) for route in routes for step in route.steps if step.backend == backend}

    def direct(self, user: Person | None) -> Iterator[tuple[BackendRow, ModelRow]]:
        """Return each listed model of each usable backend that the user may call as `backend/model`."""
        for backend in self.backends.values():
            if not backend.unusable:
                usable = self._usable(user, backend.id)
                yield from ((backend, model) for model in backend.models.values() if usable(model.name))


def canonical(model: str) -> str:
    """Return the common form of all names that a server accepts for a model: case and Ollama's `:latest` make no difference."""
    return model.lower().removesuffix(":latest")


def version() -> int:
    """Return the configuration's version with one read by primary key."""
    return ConfigState.objects.filter(pk=1).values_list("version", flat=True).first() or 0


def load() -> Snapshot:
    """Read everything. The version is read first, so a change in between makes the snapshot old, never wrongly new."""
    number = version()
    backends = Backend.objects.prefetch_related(Prefetch("offered", BackendModel.objects.order_by("id")))
    routes = Route.objects.prefetch_related(
        Prefetch("steps", RouteStep.objects.order_by("position", "id")),
        Prefetch("rollouts", Rollout.objects.filter(state=Rollout.State.RUNNING)),
        "allowed_users",
        "allowed_groups",
    )
    facts = tuple(_fact(row) for row in Learned.objects.filter(last_seen_at__gt=timezone.now() - FACTS_KEPT).select_related("backend"))
    rows = {row.pk: _backend(row, facts) for row in backends}
    return Snapshot(number, rows, {row.name: _route(row) for row in routes}, limits.load(), facts)


def _fact(row: Learned) -> Fact:
    return Fact(row.backend.name, row.model, row.kind, row.name, row.value, row.observations, row.read_up_to, row.last_seen_at.timestamp())


def load_health() -> dict[int, tuple[str, str]]:
    """Return state and reason by backend id."""
    return {row.backend_id: (row.state, row.why) for row in Health.objects.all()}


def unusable(row: Backend) -> str:
    """Return the reason to skip a backend; empty if it may be used."""
    if not row.enabled:
        return "it is disabled"
    if row.preset == "builtin" and not settings.PATCHBAY_BUILTIN:
        return "PATCHBAY_BUILTIN is 0"
    return _key(row)[1]


def _backend(row: Backend, facts: Sequence[Fact] = ()) -> BackendRow:
    key, _lost = _key(row)
    preset = PRESETS.get(row.preset, PRESETS["custom"])
    models = {offer.name: _model(offer) for offer in row.offered.all()}
    return BackendRow(
        id=row.pk,
        name=row.name,
        preset=row.preset,
        base_url=row.base_url,
        key=key,
        headers=with_key({**preset.headers, **row.headers}, key),
        timeouts=(row.connect_timeout, row.first_token_timeout, row.idle_timeout),
        max_concurrency=row.max_concurrency,
        prices=_prices(row),
        model_prices=tuple((model.name, model.prices) for model in models.values() if model.prices),
        capabilities={**preset.capabilities, **row.capabilities},
        unusable=unusable(row),
        models=models,
        repairs=_repairs(row.name, facts),
    )


def _repairs(backend: str, facts: Sequence[Fact]) -> dict[str, tuple[str, ...]]:
    """Return the repairs of a backend's models, the first learned first."""
    found: dict[str, list[str]] = {}
    for fact in facts:
        if fact.backend == backend and fact.kind == Learned.Kind.REPAIR:
            found.setdefault(fact.model, []).append(fact.name)
    return {model: tuple(names) for model, names in found.items()}


def _key(row: Backend) -> tuple[str, str]:
    """Return the plain key and the reason if there is none. A lost key disables the backend; nothing replaces it."""
    if row.api_key_env:
        if not is_key_variable(row.api_key_env):
            return "", f"PATCHBAY_KEY_VARIABLES does not allow the environment variable {row.api_key_env}"
        value = env.text(row.api_key_env)
        return value, "" if value else f"the environment variable {row.api_key_env} is not set"
    try:
        return row.api_key.reveal(), ""
    except KeyLost as error:
        return "", str(error)


def _prices(row: Backend | BackendModel) -> tuple[float, float] | None:
    if row.input_price is None and row.output_price is None:
        return None
    return float(row.input_price or 0), float(row.output_price or 0)


def _model(row: BackendModel) -> ModelRow:
    return ModelRow(row.name, row.context_window, row.capabilities, _prices(row))


def _route(row: Route) -> RouteRow:
    users, groups = list(row.allowed_users.all()), list(row.allowed_groups.all())
    members = get_user_model().objects.filter(groups__in=groups).values_list("pk", flat=True) if groups else ()
    steps = (
        StepRow(s.backend_id, s.model, s.first_token_timeout, s.idle_timeout, s.context_window, s.group, s.weight) for s in row.steps.all()
    )
    return RouteRow(
        name=row.name,
        description=row.description,
        enabled=row.enabled,
        mid_stream=cast(MidStream, row.mid_stream),
        hedge_ms=row.hedge_ms,
        balance=cast(Balance, row.balance),
        sticky=row.sticky,
        allowed=frozenset([*(user.pk for user in users), *members]) if row.restricted or users or groups else None,
        steps=tuple(steps),
        mirror=_rollout(row, Rollout.Kind.MIRROR),
        canary=_rollout(row, Rollout.Kind.CANARY),
    )


def _rollout(route: Route, kind: Rollout.Kind) -> RolloutRow | None:
    """Return the running rollout of a kind. `load` has prefetched the running ones."""
    found = next((row for row in route.rollouts.all() if row.kind == kind), None)
    return RolloutRow(found.pk, StepRow(found.backend_id, found.model), found.percent / 100) if found else None
