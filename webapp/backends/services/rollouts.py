"""Start and stop rollouts."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.backends.models import Backend, Rollout, Route


@transaction.atomic
def start_rollout(*, route: Route, kind: str, backend: Backend, model: str, percent: float, **limits: float | None) -> Rollout:
    """Start a mirror or a canary, and stop the running one of the same kind.

    Args:
        limits: `min_samples`, `max_error_rise`, and `max_latency_ratio` of a canary; None keeps the default.

    Raises:
        ValidationError: a value is not valid, or the candidate already serves the route.
    """
    if route.steps.filter(backend=backend, model=model).exists():
        raise ValidationError(
            _("%(name)s/%(model)s is already a step of %(name2)s.") % {"name": backend.name, "model": model, "name2": route.name}
        )
    for running in route.rollouts.select_for_update().filter(kind=kind, state=Rollout.State.RUNNING):
        stop_rollout(rollout=running, note="Another one was started.")
    given = {name: value for name, value in limits.items() if value is not None}
    rollout = Rollout(route=route, kind=kind, backend=backend, model=model, percent=percent, **given)
    rollout.full_clean()
    rollout.save()
    return rollout


def stop_rollout(*, rollout: Rollout, note: str = "") -> None:
    """Stop a running rollout. One that has ended stays as it is."""
    if rollout.state == Rollout.State.RUNNING:
        rollout.state, rollout.note, rollout.ended_at = Rollout.State.STOPPED, note, timezone.now()
        rollout.save(update_fields=["state", "note", "ended_at"])
