"""Start and stop rollouts."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.backends.models import Backend, Rollout, Route, RouteStep


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


@transaction.atomic
def promote_rollout(*, rollout: Rollout, note: str = "") -> bool:
    """End a running canary by making its candidate the first step of the route. The steps that the route had become its fallback.

    Returns:
        False where the canary has ended already, or the rollout is a mirror.
    """
    locked = Rollout.objects.select_for_update().filter(pk=rollout.pk, kind=Rollout.Kind.CANARY, state=Rollout.State.RUNNING).first()
    if locked is None:
        return False
    route = Route.objects.select_for_update().get(pk=locked.route_id)
    _put_candidate_first(route, locked)
    route.save()  # an editor that is open on the old steps notices the change
    locked.state, locked.note, locked.ended_at = Rollout.State.PROMOTED, note, timezone.now()
    locked.save(update_fields=["state", "note", "ended_at"])
    return True


def _put_candidate_first(route: Route, rollout: Rollout) -> None:
    steps = list(route.steps.all())
    same = (step for step in steps if (step.backend_id, step.model) == (rollout.backend_id, rollout.model))
    first = next(same, None) or RouteStep(route=route, backend=rollout.backend, model=rollout.model)
    others = [step for step in steps if step is not first]
    shares = route.balance != Route.Balance.ORDERED
    for position, step in enumerate([first, *others]):
        step.position = position
        if shares:
            step.group = 0 if step is first else step.group + 1  # the steps that share the load answer where the candidate fails
        step.save()
