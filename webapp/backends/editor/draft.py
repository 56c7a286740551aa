"""Hold a route while it is edited: read its steps from a posted form, check them, and turn them into a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.http import QueryDict

from webapp.backends.config.failure_simulation import CONDITIONS
from webapp.backends.config.snapshot import RouteRow, StepRow
from webapp.backends.editor.forms import RouteForm
from webapp.backends.models import Backend, Route, RouteStep

MAX_STEPS: Final = 100
MAX_DIGITS = 18
"""Digits of an id: 64 bits hold any number of this length."""
STEP_FIELDS: Final = ("step", "backend", "model", "then", "weight", "first_token_timeout", "idle_timeout", "context_window", "condition")
"""The fields of a step in the form. Each is posted once for every step, in the order of the steps."""


@dataclass(frozen=True, slots=True)
class DraftStep:
    """A step in the editor.

    Attributes:
        row: the step, perhaps not saved yet. Its group is set.
        then: it begins a group, which is the fallback of the steps before it.
        condition: the failure to simulate (`failure_simulation.CONDITIONS`); empty for none.
        problems: why it cannot be saved.
    """

    row: RouteStep
    then: bool = False
    condition: str = ""
    problems: tuple[str, ...] = ()


def steps_of(route: Route) -> list[DraftStep]:
    """Return the saved steps of a route."""
    rows = list(route.steps.select_related("backend"))
    groups = [None, *(row.group for row in rows)]
    return [DraftStep(row, then=before is not None and row.group != before) for row, before in zip(rows, groups, strict=False)]


def posted_steps(post: QueryDict) -> list[DraftStep]:
    """Return the steps of a posted form. Values that are not valid become problems of their step."""
    columns = [[value.replace("\x00", "") for value in post.getlist(name)[:MAX_STEPS]] for name in STEP_FIELDS]
    entries = [dict(zip(STEP_FIELDS, values, strict=True)) for values in zip_longest(*columns, fillvalue="")]
    backends = Backend.objects.in_bulk([entry["backend"] for entry in entries], field_name="name")
    found: list[DraftStep] = []
    group = 0
    for entry in entries:
        then = bool(found) and entry["then"] == "1"
        group += then
        found.append(_step(entry, backends, group, then=then))
    return found


def _step(entry: Mapping[str, str], backends: Mapping[str, Backend], group: int, *, then: bool) -> DraftStep:
    backend = backends.get(entry["backend"])
    values: dict[str, Any] = {name: entry[name].strip() or None for name in ("first_token_timeout", "idle_timeout", "context_window")}
    row = RouteStep(backend=backend, model=entry["model"].strip(), group=group, weight=entry["weight"].strip() or 1, **values)
    row.pk = int(entry["step"]) if entry["step"].isdecimal() and len(entry["step"]) <= MAX_DIGITS else None
    condition = entry["condition"] if entry["condition"] in CONDITIONS else ""
    return DraftStep(row, then, condition, _problems(row, entry["backend"]))


def _problems(row: RouteStep, backend: str) -> tuple[str, ...]:
    if not row.backend_id:
        return (f"The backend {backend!r} does not exist.",)
    try:
        row.clean_fields(exclude=["id", "route"])
    except ValidationError as error:
        return tuple(f"{name.replace('_', ' ')}: {text}" for name, texts in error.message_dict.items() for text in texts)
    return ()


def plan(form: RouteForm, steps: Sequence[DraftStep]) -> RouteRow:
    """Return the draft as the registry would load it: settings that are not valid have their defaults, and such steps are left out."""
    valid = getattr(form, "cleaned_data", {})
    return RouteRow(
        name=str(form.data.get("name") or "the route"),
        mid_stream=valid.get("mid_stream") or "stop",
        hedge_ms=valid.get("hedge_ms"),
        balance=valid.get("balance") or "ordered",
        sticky=bool(valid.get("sticky")),
        steps=tuple(
            StepRow(
                backend=step.row.backend_id,
                model=step.row.model,
                first_token_timeout=step.row.first_token_timeout,
                idle_timeout=step.row.idle_timeout,
                window=step.row.context_window,
                group=step.row.group,
                weight=step.row.weight,
            )
            for step in steps
            if not step.problems
        ),
    )


def conditions(steps: Sequence[DraftStep]) -> list[str]:
    """Return the simulated condition of each step of `plan`."""
    return [step.condition for step in steps if not step.problems]
