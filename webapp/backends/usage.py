"""Reads of the attempt log for the usage page: sums by the database, percentiles from the newest rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from webapp.accounts.models import User
from webapp.backends.models import Attempt

PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30), "90d": timedelta(days=90)}
HOURLY = frozenset({"24h"})
GROUPS = {"backend": "backend", "model": "model", "route": "route", "source": "source", "user": "user__username"}
NEWEST = 50_000
"""Percentiles are taken over this many of the newest answers at most."""
ANSWERED = frozenset({"ok", "partial", "cancelled"})
FAILED = Q(outcome="failed")


@dataclass(frozen=True, slots=True)
class Filters:
    """What the page is asked for; unknown values mean no filter."""

    period: str = "7d"
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        period = query.get("period", "7d")
        return cls(period if period in PERIODS else "7d", {name: query[name][:300] for name in GROUPS if query.get(name)})

    @property
    def since(self) -> datetime:
        return timezone.now() - PERIODS[self.period]

    @property
    def hourly(self) -> bool:
        return self.period in HOURLY


@dataclass(frozen=True, slots=True)
class Totals:
    requests: int
    attempts: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """An hour or a day."""

    start: datetime
    label: str
    ok: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    p50: float | None
    p95: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """A line of a table: one backend, model, route or user."""

    name: str
    attempts: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal | None
    p50: float | None
    p95: float | None


def attempts(filters: Filters, *, viewer: User) -> QuerySet[Attempt]:
    """The attempts a person may see: staff all, others their own."""
    rows = Attempt.objects.filter(created_at__gte=filters.since).exclude(outcome="skipped")
    if not viewer.is_staff:
        rows = rows.filter(user=viewer)
    return rows.filter(**{GROUPS[name]: value for name, value in filters.values.items()}).order_by()


def totals(rows: QuerySet[Attempt]) -> Totals:
    found = rows.aggregate(
        requests=Count("request_id", distinct=True),
        attempts=Count("id"),
        failed=Count("id", filter=FAILED),
        prompt_tokens=Sum("prompt_tokens", default=0),
        completion_tokens=Sum("completion_tokens", default=0),
        cost=Sum("cost"),
    )
    return Totals(**found)


def samples(rows: QuerySet[Attempt]) -> list[tuple[datetime, str, str, str, str, str | None, float]]:
    """(when, backend, model, route, source, user, first token in ms) of the newest answers."""
    fields = ("created_at", *GROUPS.values(), "first_token_ms")
    answered = rows.filter(outcome__in=ANSWERED, first_token_ms__isnull=False).order_by("-created_at")
    return list(answered.values_list(*fields)[:NEWEST])


def percentile(values: Sequence[float], part: float) -> float | None:
    """The nearest-rank percentile of sorted values; None for none."""
    if not values:
        return None
    return values[min(int(part * len(values)), len(values) - 1)]


def buckets(rows: QuerySet[Attempt], seen: Iterable[Sequence[Any]], filters: Filters) -> list[Bucket]:
    """Every hour or day of the period, those without attempts too."""
    step = timedelta(hours=1) if filters.hourly else timedelta(days=1)
    truncate = TruncHour if filters.hourly else TruncDay
    sums = {
        row["bucket"]: row
        for row in rows.annotate(bucket=truncate("created_at", tzinfo=UTC))
        .values("bucket")
        .annotate(
            failed=Count("id", filter=FAILED),
            ok=Count("id", filter=~FAILED),
            prompts=Sum("prompt_tokens"),
            completions=Sum("completion_tokens"),
            costs=Sum("cost"),
        )
    }
    times: dict[datetime, list[float]] = {}
    for when, *_rest, ms in seen:
        times.setdefault(_floor(when, filters), []).append(ms)
    start, end = _floor(filters.since, filters), timezone.now()
    starts = [start + step * n for n in range(int((end - start) / step) + 1)]
    return [_bucket(one, sums.get(one, {}), sorted(times.get(one, ())), filters) for one in starts]


def _floor(when: datetime, filters: Filters) -> datetime:
    when = when.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return when if filters.hourly else when.replace(hour=0)


def _bucket(start: datetime, sums: Mapping[str, Any], times: Sequence[float], filters: Filters) -> Bucket:
    return Bucket(
        start=start,
        label=f"{start:%H:%M}" if filters.hourly else f"{start:%b} {start.day}",
        ok=sums.get("ok", 0),
        failed=sums.get("failed", 0),
        prompt_tokens=sums.get("prompts") or 0,
        completion_tokens=sums.get("completions") or 0,
        cost=float(sums.get("costs") or 0),
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
    )


def groups(rows: QuerySet[Attempt], seen: Iterable[Sequence[Any]], by: str) -> list[Group]:
    """The 20 largest by tokens. `by` is a key of `GROUPS`."""
    place = 1 + list(GROUPS).index(by)
    times: dict[str, list[float]] = {}
    for row in seen:
        times.setdefault(row[place] or "", []).append(row[-1])
    found = (
        rows.values(name=F(GROUPS[by]))
        .annotate(
            attempts=Count("id"),
            failed=Count("id", filter=FAILED),
            prompts=Sum("prompt_tokens"),
            completions=Sum("completion_tokens"),
            costs=Sum("cost"),
        )
        .order_by("-completions", "-prompts", "-attempts")[:20]
    )
    return [_group(row, sorted(times.get(row["name"] or "", ()))) for row in found]


def _group(row: Mapping[str, Any], times: Sequence[float]) -> Group:
    return Group(
        name=row["name"] or "",
        attempts=row["attempts"],
        failed=row["failed"],
        prompt_tokens=row["prompts"],
        completion_tokens=row["completions"],
        cost=row["costs"],
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
    )


def errors(rows: QuerySet[Attempt]) -> list[tuple[str, str, int]]:
    """(backend, error class, count), the most frequent first."""
    found = rows.filter(FAILED).values_list("backend", "error").annotate(count=Count("id")).order_by("-count")
    return list(found[:20])


def choices(*, viewer: User) -> dict[str, list[str]]:
    """What the filters may be set to, from the last 90 days."""
    rows = attempts(Filters(period="90d"), viewer=viewer)
    names = [name for name in GROUPS if name != "user" or viewer.is_staff]
    return {name: [value for value in rows.values_list(GROUPS[name], flat=True).distinct()[:200] if value] for name in names}


def hourly_counts(*, hours: int = 24) -> dict[str, list[tuple[int, int]]]:
    """(answered, failed) attempts by backend for each of the last hours, oldest first."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    first = now - timedelta(hours=hours - 1)
    found = (
        Attempt.objects.filter(created_at__gte=first)
        .exclude(outcome="skipped")
        .order_by()
        .annotate(hour=TruncHour("created_at", tzinfo=UTC))
        .values_list("backend", "hour")
        .annotate(ok=Count("id", filter=~FAILED), failed=Count("id", filter=FAILED))
    )
    counts: dict[str, list[tuple[int, int]]] = {}
    for backend, hour, ok, failed in found:
        row = counts.setdefault(backend, [(0, 0)] * hours)
        row[min(int((hour - first) / timedelta(hours=1)), hours - 1)] = (ok, failed)
    return counts
