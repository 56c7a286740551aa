"""Sticky sessions that moved are followed by the other processes."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.utils import timezone

from webapp.backends.models import MovedSession
from webapp.backends.runtime.moved_sessions import KEPT, Exchange, swap
from webapp.patterns.fallback.balancing import LoadBalancer

pytestmark = pytest.mark.django_db
SESSION = "conversation:1"


@dataclass(frozen=True)
class Step:
    name: str
    group: int = 0
    weight: int = 1
    backend: Any = None

    @property
    def keys(self) -> tuple[str, str]:
        return self.name, f"{self.name}/m"


STEPS = [Step(name, backend=SimpleNamespace(name=name)) for name in ("a", "b", "c")]


@dataclass
class Process:
    balancer: LoadBalancer = field(default_factory=lambda: LoadBalancer(sticky=True))

    def __post_init__(self) -> None:
        self.exchange = Exchange({"route": self.balancer})

    def first(self) -> Step:
        return self.balancer.order(STEPS, SESSION)[0]

    def sync(self) -> int:
        """Exchange moves; return how many were read."""
        news = self.exchange.outgoing()
        assert news is not None
        rows = swap(news)
        self.exchange.take(rows)
        return len(rows)


def test_a_session_that_moved_stays_there_in_every_process_also_a_new_one() -> None:
    one, other = Process(), Process()
    home = one.first()
    assert other.first() == home
    away = next(step for step in STEPS if step != home)
    one.balancer.pin(SESSION, away)
    one.sync()
    assert other.first() == home
    other.sync()
    late = Process()
    late.sync()
    assert one.first() == other.first() == late.first() == away
    other.balancer.pin(SESSION, home)
    other.sync()
    one.sync()
    assert one.first() == home
    assert MovedSession.objects.count() == 1


def test_moves_that_could_not_be_stored_are_sent_again() -> None:
    process = Process()
    process.balancer.pin(SESSION, STEPS[0])
    first = process.exchange.outgoing()  # and the database failed
    assert first == process.exchange.outgoing()
    assert first is not None
    assert len(first[0]) == 1


def test_only_new_moves_are_read_again_and_old_ones_are_deleted() -> None:
    process = Process()
    for session, hours in (("older", 2), ("old", 1)):
        MovedSession.objects.create(route="route", session=session, step="a/m", moved_at=timezone.now() - timedelta(hours=hours))
    assert process.sync() == 2
    assert process.sync() == 1
    MovedSession.objects.update(moved_at=timezone.now() - KEPT - timedelta(minutes=1))
    process.balancer.pin(SESSION, STEPS[0])
    process.sync()
    assert not MovedSession.objects.filter(session="old").exists()


def test_a_person_cannot_be_read_from_the_table() -> None:
    process = Process()
    process.balancer.pin("user:someone@example.org", STEPS[0])
    process.sync()
    assert "someone" not in MovedSession.objects.get().session


def test_without_a_sticky_route_nothing_is_exchanged() -> None:
    assert Exchange({"route": LoadBalancer("weighted")}).outgoing() is None
