"""Write the steps of routes as the route editor saves them."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction

from webapp.backends.models import Route, RouteStep


class RouteChanged(Exception):
    """Another administrator changed the route since it was opened."""


@transaction.atomic
def save_route(*, route: Route, steps: Sequence[RouteStep], seen: str = "") -> Route:
    """Save a route with exactly these steps, in this order. Steps that have an id keep it.

    Args:
        route: the route with its new settings.
        steps: the valid steps, with their groups; ids of steps that belong to another route are ignored.
        seen: `version_of` the route when it was opened; empty to save in any case.

    Raises:
        RouteChanged: the stored route is newer than `seen`.
    """
    stored = Route.objects.select_for_update().filter(pk=route.pk).first() if route.pk else None
    if stored and seen and version_of(stored) != seen:
        raise RouteChanged
    route.save()
    known = set(route.steps.values_list("pk", flat=True))
    kept = [step.pk for step in steps if step.pk in known]
    route.steps.exclude(pk__in=kept).delete()
    for position, step in enumerate(steps):
        step.route, step.position = route, position
        step.pk = step.pk if step.pk in known else None
        known.discard(step.pk)  # an id that is posted twice is used once
        step.save()
    return route


def version_of(route: Route) -> str:
    """Return text that changes with every save of a route."""
    return route.updated_at.isoformat() if route.pk else ""
