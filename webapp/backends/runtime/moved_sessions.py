"""Share sticky sessions among processes: those that left their step because it failed stay where they were answered, in every process.

Sessions move only when a backend fails, so the database carries the moves. Requests consult the balancers in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Final

from django.utils import timezone

from webapp.backends.models import MovedSession
from webapp.patterns.fallback.balancing import MAX_PINS, LoadBalancer

KEPT: Final = timedelta(hours=12)
"""No server keeps the prompts of a session in its cache for longer."""
OVERLAP: Final = timedelta(seconds=30)
"""Moves that are read again, since the clocks of machines differ and transactions end in any order."""
Moves = Mapping[tuple[str, str], str]
"""The step by route and session."""


class Exchange:
    """The moves that one process has published and learned. `outgoing` and `take` use only memory, `swap` only the database."""

    def __init__(self, balancers: Mapping[str, LoadBalancer]) -> None:
        self._balancers = balancers
        self._sent: dict[tuple[str, str], str] = {}
        self._read_to: datetime | None = None

    def outgoing(self) -> tuple[Moves, datetime | None] | None:
        """Return the moves since the last call, and the time from which to read others; None without sticky routes."""
        if not any(balancer.sticky for balancer in self._balancers.values()):
            return None
        for route, balancer in self._balancers.items():
            self._sent.update({(route, session): step for session, step in balancer.take_moves().items()})
        return dict(self._sent), self._read_to and self._read_to - OVERLAP

    def take(self, rows: Iterable[tuple[str, str, str, datetime]]) -> None:
        """Apply the moves of all processes: route, session, step, and time. What was sent is stored now."""
        self._sent.clear()
        for route, session, step, moved_at in rows:
            self._read_to = max(self._read_to or moved_at, moved_at)
            if route in self._balancers:
                self._balancers[route].adopt(session, step)


def swap(news: tuple[Moves, datetime | None]) -> list[tuple[str, str, str, datetime]]:
    """Write the moves of this process, and return those of all processes since a time, the oldest first."""
    moves, since = news
    now = timezone.now()
    if moves:
        rows = [MovedSession(route=route, session=session, step=step, moved_at=now) for (route, session), step in moves.items()]
        MovedSession.objects.bulk_create(
            rows, update_conflicts=True, unique_fields=["route", "session"], update_fields=["step", "moved_at"], batch_size=200
        )
        MovedSession.objects.filter(moved_at__lt=now - KEPT).delete()
    found = MovedSession.objects.filter(moved_at__gt=since or now - KEPT).order_by("-moved_at")
    return list(found.values_list("route", "session", "step", "moved_at")[:MAX_PINS])[::-1]
