"""Share breakers among processes: each publishes its openings as rows, and cools backends that others published.

Rows change at most a few times per minute, so the database carries them. Requests consult the breakers in memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.utils import timezone

from webapp.backends.models import Cooldown
from webapp.patterns.fallback.breakers import ANYONE, Breakers, Health, Origin

SLACK = timedelta(seconds=2)
RESETS_KEPT = timedelta(minutes=1)
MAX_KEY = 300
"""Longer keys belong to invented models; each process learns those for itself."""


@dataclass(frozen=True, slots=True)
class Row:
    """Hold one cooldown as the database stores it."""

    key: str
    until: datetime
    why: str
    reset_at: datetime | None = None
    only: Origin = ANYONE
    limited: bool = False


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Rows to write, keys whose row is to be deleted, and the newest reset that was applied."""

    opened: tuple[Row, ...]
    closed: frozenset[str]
    since: datetime | None


class Exchange:
    """The state that one process has published and learned. `outgoing` and `take` use only memory, `publish` only the database."""

    def __init__(self, breakers: Breakers) -> None:
        self.breakers = breakers
        self._published: dict[str, datetime] = {}
        self._learnt: set[str] = set()
        self._since: datetime | None = None

    def outgoing(self) -> Outgoing:
        """Return the changes in this process since the last call."""
        now = timezone.now()
        own = {
            key: health
            for key, health in self.breakers.snapshot().items()
            if key not in self._learnt and health.seconds > 0 and len(key) <= MAX_KEY and not health.only.digest
        }
        changed = {key: _row(key, health, now) for key, health in own.items() if not self._knows(key, health, now)}
        gone = set(self._published) - set(own)
        kept = {key: until for key, until in self._published.items() if key in own}
        self._published = kept | {key: row.until for key, row in changed.items()}
        return Outgoing(tuple(changed.values()), frozenset(gone), self._since)

    def _knows(self, key: str, health: Health, now: datetime) -> bool:
        known = self._published.get(key)
        return known is not None and abs(known - now - timedelta(seconds=health.seconds)) < SLACK

    def take(self, rows: Sequence[Row]) -> None:
        """Apply the rows of other processes, and administrators' resets since the last call."""
        now = timezone.now()
        open_ones = {row.key: row for row in rows if row.until > now}
        self._reset([row for row in rows if row.reset_at])
        for key in self._learnt - set(open_ones):
            self.breakers.reset(key)
        foreign = {key for key in open_ones if key not in self._published}
        for key in foreign - self._learnt:
            row = open_ones[key]
            self.breakers.cool(key, (row.until - now).total_seconds(), row.why, only=row.only, limited=row.limited)
        self._learnt = foreign

    def _reset(self, rows: Sequence[Row]) -> None:
        """Apply resets. Times come from the database's rows and are never compared with this machine's clock."""
        stamps = [(row.reset_at, row.key) for row in rows if row.reset_at]
        for stamp, key in stamps:
            if self._since is not None and stamp > self._since:
                self.breakers.reset(key)
                self._published.pop(key, None)
        self._since = max([stamp for stamp, _key in stamps] + [self._since or datetime.min.replace(tzinfo=UTC)])

    def unpublished(self) -> None:
        """Mark the last rows as not written, so that all are sent again."""
        self._published = {}


def _row(key: str, health: Health, now: datetime) -> Row:
    return Row(key, now + timedelta(seconds=health.seconds), health.why[:500], None, health.only, health.limited)


def publish(news: Outgoing) -> None:
    """Write new openings, delete closed ones and those of ended processes. A reset that was not applied yet is not overwritten."""
    if news.opened:
        Cooldown.objects.filter(until__lt=timezone.now() - RESETS_KEPT, reset_at=None).delete()
    for row in news.opened:
        ahead = {} if news.since is None else {"reset_at__gt": news.since}
        if not Cooldown.objects.filter(key=row.key, reset_at__isnull=False, **ahead).exists():
            fields = {"caller": row.only.caller[:64], "shape": row.only.shape[:100], "limited": row.limited}
            Cooldown.objects.update_or_create(key=row.key, defaults={"until": row.until, "why": row.why, "reset_at": None, **fields})
    if news.closed:
        Cooldown.objects.filter(key__in=news.closed, reset_at=None).delete()


def rows() -> list[Row]:
    """Return all of them."""
    columns = ("key", "until", "why", "reset_at", "caller", "shape", "limited")
    found = Cooldown.objects.values_list(*columns)
    return [Row(key, until, why, reset, Origin(caller, shape), limited) for key, until, why, reset, caller, shape, limited in found]


def reset(key: str) -> None:
    """Make every process retry a backend and its models from its next request on."""
    now = timezone.now()
    Cooldown.objects.filter(reset_at__lt=now - RESETS_KEPT).delete()
    Cooldown.objects.filter(key__startswith=f"{key}/").update(until=now, reset_at=now)
    Cooldown.objects.update_or_create(key=key, defaults={"until": now, "reset_at": now})


def by_backend() -> dict[str, list[Row]]:
    """Return the present cool-downs by backend name."""
    found: dict[str, list[Row]] = {}
    for row in rows():
        if row.until > timezone.now():
            found.setdefault(row.key.partition("/")[0], []).append(row)
    return found
