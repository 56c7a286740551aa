"""Combine rows, health, and breakers for the live status pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy

from webapp.backends import selectors
from webapp.backends.config.snapshot import Person, Snapshot, unusable
from webapp.backends.models import Backend, Health, Route
from webapp.backends.reporting import usage
from webapp.backends.runtime import cooldowns
from webapp.core import charts

State = Literal["up", "down", "cooling", "flagged", "unknown", "disabled"]
BADGES: dict[State, str] = {"up": "ok", "down": "bad", "cooling": "warn", "flagged": "bad", "unknown": "", "disabled": ""}
WORDS: dict[State, str | Promise] = {
    "up": gettext_lazy("Up"),
    "down": gettext_lazy("Down"),
    "cooling": gettext_lazy("Cooling down"),
    "flagged": gettext_lazy("Needs attention"),
    "unknown": gettext_lazy("Not tried yet"),
    "disabled": gettext_lazy("Off"),
}


@dataclass(frozen=True, slots=True)
class Cooling:
    """A backend, or one of its models, that is skipped for now. `model` is empty for the whole backend; `seconds` remain."""

    model: str
    seconds: float
    why: str


Coolings = Mapping[str, Sequence[Cooling]]


@dataclass(frozen=True, slots=True)
class BackendStatus:
    """Hold the state of a backend with its reason."""

    id: int
    name: str
    state: State
    why: str
    latency_ms: float | None
    checked_at: datetime | None
    ok_at: datetime | None
    models: tuple[str, ...]
    cooling: tuple[Cooling, ...]
    spark: tuple[charts.Rect, ...]

    @property
    def badge(self) -> str:
        """Return the color of the badge."""
        return BADGES[self.state]

    @property
    def word(self) -> str:
        """Return the state in words."""
        return str(WORDS[self.state])


@dataclass(frozen=True, slots=True)
class StepStatus:
    """Hold the state of a step with its reason."""

    backend: str
    model: str
    state: State
    why: str

    @property
    def badge(self) -> str:
        """Return the color of the badge."""
        return BADGES[self.state]

    @property
    def word(self) -> str:
        """Return the state in words."""
        return str(WORDS[self.state])


def coolings() -> Coolings:
    """Return the cool-downs of all processes by backend."""
    now = timezone.now()
    return {
        name: [Cooling(row.key.partition("/")[2], (row.until - now).total_seconds(), row.why) for row in rows]
        for name, rows in cooldowns.by_backend().items()
    }


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """A route for display: its ordered steps. `serving` is the number of the step that would be called now, or None."""

    id: int
    name: str
    description: str
    steps: tuple[StepStatus, ...]
    embeddings: bool = False

    @property
    def serving(self) -> int | None:
        """Return the number of the step that serves now, or None."""
        return next((number for number, step in enumerate(self.steps) if step.state in {"up", "unknown"}), None)


def backends(snapshot: Snapshot, coolings: Coolings, *, viewer: Person) -> list[BackendStatus]:
    """Return all backends, with the models that the viewer may use."""
    counts = usage.hourly_counts()
    allowed: dict[int, list[str]] = {}
    for row, model in snapshot.direct(viewer):
        allowed.setdefault(row.id, []).append(model.name)
    return [
        _backend(row, coolings.get(row.name, ()), tuple(allowed.get(row.pk, ())), counts.get(row.name, []))
        for row in selectors.backends_with_health()
    ]


def _backend(row: Backend, cooling: Sequence[Cooling], models: tuple[str, ...], counts: Sequence[tuple[int, int]]) -> BackendStatus:
    health = getattr(row, "health", None)
    state, why = state_of(row, cooling)
    return BackendStatus(
        id=row.pk,
        name=row.name,
        state=state,
        why=why,
        latency_ms=health.latency_ms if health else None,
        checked_at=health.checked_at if health else None,
        ok_at=health.ok_at if health else None,
        models=models,
        cooling=tuple(cooling),
        spark=charts.spark(counts),
    )


def state_of(row: Backend, cooling: Sequence[Cooling]) -> tuple[State, str]:
    """Return the state of a backend, worst first, and the reason."""
    health: Health | None = getattr(row, "health", None)
    whole = next((one for one in cooling if not one.model), None)
    problem = unusable(row)
    if problem:
        return "disabled", problem
    if row.flagged:
        return "flagged", row.flagged
    if whole:
        return "cooling", whole.why
    if health is None or health.state == Health.State.UNKNOWN:
        return "unknown", ""
    return ("up", "") if health.state == Health.State.UP else ("down", health.why)


def routes(snapshot: Snapshot, coolings: Coolings, *, viewer: Person) -> list[RouteStatus]:
    """Return the enabled routes that the viewer may use, each with the state of its steps."""
    rows = {row.pk: row for row in selectors.backends_with_health()}
    allowed = {route.name for route in snapshot.routes.values() if route.enabled and route.allows(viewer)}
    found = Route.objects.filter(name__in=allowed).prefetch_related("steps")
    return [route_status(route, rows, coolings) for route in found]


def route_status(route: Route, rows: Mapping[int, Backend], coolings: Coolings) -> RouteStatus:
    """Return the state of a route and of its steps."""
    steps = tuple(_step(rows[step.backend_id], step.model, coolings) for step in route.steps.all() if step.backend_id in rows)
    return RouteStatus(route.pk, route.name, route.description, steps, _embeds(route, rows))


def _embeds(route: Route, rows: Mapping[int, Backend]) -> bool:
    """Return whether a route is for embeddings: all its known models are."""
    known = {(pk, model.name): model.capabilities for pk, row in rows.items() for model in row.offered.all()}
    found = [known[step.backend_id, step.model] for step in route.steps.all() if (step.backend_id, step.model) in known]
    return bool(found) and all(capabilities.get("embeddings") and not capabilities.get("chat", True) for capabilities in found)


def _step(row: Backend, model: str, coolings: Coolings) -> StepStatus:
    cooling = coolings.get(row.name, ())
    state, why = state_of(row, cooling)
    alone = next((one for one in cooling if one.model == model), None)
    if alone and state in {"up", "unknown"}:
        state, why = "cooling", alone.why
    return StepStatus(row.name, model, state, why)
