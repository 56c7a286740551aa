"""Read usage for the usage page: from the sums of hours and days, and from the attempts that are not summed yet (`retention`).

Percentiles come from the histograms of the sums and from the newest of these attempts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDay, TruncHour
from django.utils import timezone

from webapp.accounts.models import User
from webapp.backends.models import Attempt, UsageDay
from webapp.backends.reporting.retention import milliseconds_of

PERIODS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30), "90d": timedelta(days=90)}
HOURLY = frozenset({"24h"})
GROUPS = {"backend": "backend", "model": "model", "route": "route", "source": "source", "user": "user__username"}
NEWEST = 50_000
"""Number of newest answers for percentiles."""
ANSWERED = frozenset({"ok", "partial", "cancelled"})
FAILED = Q(outcome="failed")


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of the page. Unknown values mean no filter."""

    period: str = "7d"
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """Return the filters from the query of an address. Unknown values are ignored."""
        period = query.get("period", "7d")
        return cls(period if period in PERIODS else "7d", {name: query[name][:300] for name in GROUPS if query.get(name)})

    @property
    def since(self) -> datetime:
        """The start of the period: of an hour for a day, of a day for longer ones."""
        return _floor(timezone.now() - PERIODS[self.period], self)

    @property
    def hourly(self) -> bool:
        """Return whether the charts show hours rather than days."""
        return self.period in HOURLY


class Rows(NamedTuple):
    """The sums of a period (`days`, some of them of hours) and the attempts that are not summed yet (`kept`). Nothing is in both."""

    kept: QuerySet[Attempt]
    days: QuerySet[UsageDay]


class Sample(NamedTuple):
    """Times to first token: `weight` answers with about `ms`."""

    when: datetime
    names: tuple[str | None, ...]
    """In the order of `GROUPS`."""
    ms: float
    weight: int = 1


@dataclass(frozen=True, slots=True)
class Totals:
    """Hold the sums of a period."""

    requests: int
    attempts: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    estimated_tokens: int
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
    """A row of a table: one backend, model, route, or user."""

    name: str
    attempts: int
    failed: int
    prompt_tokens: int
    completion_tokens: int
    cost: Decimal | None
    p50: float | None
    p95: float | None


def attempts(filters: Filters, *, viewer: User) -> Rows:
    """Return the visible attempts: all for staff, otherwise the user's own."""
    since = filters.since
    kept = Attempt.objects.filter(created_at__gte=since, summed=None).exclude(outcome="skipped").order_by()
    days = UsageDay.objects.filter(day__gte=since.date()).order_by()
    if filters.hourly:
        days = days.filter(Q(day__gt=since.date()) | Q(hour__gte=since.hour), hour__isnull=False)
    if not viewer.is_staff:
        kept, days = kept.filter(user=viewer), days.filter(user=viewer)
    wanted = {GROUPS[name]: value for name, value in filters.values.items()}
    return Rows(kept.filter(**wanted), days.filter(**wanted))


TOKENS = F("prompt_tokens") + F("completion_tokens")
SUMS: Mapping[str, Any] = {
    "attempts": Count("id"),
    "failed": Count("id", filter=FAILED),
    "prompts": Sum("prompt_tokens", default=0),
    "completions": Sum("completion_tokens", default=0),
    "costs": Sum("cost"),
}
DAY_SUMS: Mapping[str, Any] = {
    "attempts": Sum("attempts", default=0),
    "failed": Sum("failed", default=0),
    "prompts": Sum("prompt_tokens", default=0),
    "completions": Sum("completion_tokens", default=0),
    "costs": Sum("cost"),
}


def _plus(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return the sum of two rows; a cost is None if both are None."""
    costs = [row["costs"] for row in (one, other) if row.get("costs") is not None]
    added = {name: int(one.get(name, 0)) + int(other.get(name, 0)) for name in {*one, *other} if name not in {"key", "costs"}}
    return {**added, "costs": sum(costs) if costs else None}


def totals(rows: Rows) -> Totals:
    """Return the sums over the rows."""
    kept = rows.kept.aggregate(
        requests=Count("request_id", distinct=True), estimated=Sum(TOKENS, filter=Q(estimated=True), default=0), **SUMS
    )
    days = rows.days.aggregate(requests=Sum("requests", default=0), estimated=Sum("estimated_tokens", default=0), **DAY_SUMS)
    found = _plus(kept, days)
    return Totals(
        requests=found["requests"],
        attempts=found["attempts"],
        failed=found["failed"],
        prompt_tokens=found["prompts"],
        completion_tokens=found["completions"],
        estimated_tokens=found["estimated"],
        cost=found["costs"],
    )


def samples(rows: Rows) -> list[Sample]:
    """Return the samples of the newest answers and of all days."""
    answered = rows.kept.filter(outcome__in=ANSWERED, first_token_ms__isnull=False).order_by("-created_at")
    newest = answered.values_list("created_at", *GROUPS.values(), "first_token_ms")[:NEWEST]
    found = [Sample(when, tuple(names), ms) for when, *names, ms in newest]
    for day, hour, *names, bins in rows.days.values_list("day", "hour", *GROUPS.values(), "first_tokens"):
        found += [Sample(_middle(day, hour), tuple(names), milliseconds_of(int(number)), count) for number, count in bins.items()]
    return found


def _middle(day: date, hour: int | None) -> datetime:
    """Return a moment within the hour, or within the day where there is none."""
    return datetime(day.year, day.month, day.day, 12 if hour is None else hour, 30, tzinfo=UTC)


Times = list[tuple[float, int]]
"""(milliseconds, how many)."""


def percentile(times: Times, part: float) -> float | None:
    """Return the nearest-rank percentile; None without samples."""
    count = sum(weight for _ms, weight in times)
    rank = min(int(part * count), count - 1)
    for ms, weight in sorted(times):
        rank -= weight
        if rank < 0:
            return ms
    return None


def buckets(rows: Rows, seen: Iterable[Sample], filters: Filters) -> list[Bucket]:
    """Return every hour or day of the period, including empty ones."""
    step = timedelta(hours=1) if filters.hourly else timedelta(days=1)
    truncate = TruncHour if filters.hourly else TruncDay
    sums: dict[datetime, Mapping[str, Any]] = {
        row["key"]: row for row in rows.kept.annotate(key=truncate("created_at", tzinfo=UTC)).values("key").annotate(**SUMS)
    }
    for day, hour, *values in rows.days.values_list("day", "hour").annotate(**DAY_SUMS):
        when, row = _floor(_middle(day, hour), filters), dict(zip(DAY_SUMS, values, strict=True))
        sums[when] = _plus(sums.get(when, {}), row)
    times: dict[datetime, Times] = {}
    for sample in seen:
        times.setdefault(_floor(sample.when, filters), []).append((sample.ms, sample.weight))
    start, end = _floor(filters.since, filters), timezone.now()
    starts = [start + step * n for n in range(int((end - start) / step) + 1)]
    return [_bucket(one, sums.get(one, {}), times.get(one, []), filters) for one in starts]


def _floor(when: datetime, filters: Filters) -> datetime:
    when = when.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return when if filters.hourly else when.replace(hour=0)


def _bucket(start: datetime, sums: Mapping[str, Any], times: Times, filters: Filters) -> Bucket:
    return Bucket(
        start=start,
        label=f"{start:%H:%M}" if filters.hourly else f"{start:%b} {start.day}",
        ok=sums.get("attempts", 0) - sums.get("failed", 0),
        failed=sums.get("failed", 0),
        prompt_tokens=sums.get("prompts", 0),
        completion_tokens=sums.get("completions", 0),
        cost=float(sums.get("costs") or 0),
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
    )


def groups(rows: Rows, seen: Iterable[Sample], by: str) -> list[Group]:
    """Return the 20 largest groups by tokens. `by` is a key of `GROUPS`."""
    place = list(GROUPS).index(by)
    times: dict[str, Times] = {}
    for sample in seen:
        times.setdefault(sample.names[place] or "", []).append((sample.ms, sample.weight))
    found: dict[str, Mapping[str, Any]] = {}
    for queryset, sums in ((rows.kept, SUMS), (rows.days, DAY_SUMS)):
        for row in queryset.values(key=F(GROUPS[by])).annotate(**sums):
            name = row["key"] or ""
            found[name] = _plus(found.get(name, {}), row)
    largest = sorted(found.items(), key=lambda item: (-item[1]["completions"], -item[1]["prompts"], -item[1]["attempts"]))
    return [_group(name, sums, times.get(name, [])) for name, sums in largest[:20]]


def _group(name: str, sums: Mapping[str, Any], times: Times) -> Group:
    return Group(
        name=name,
        attempts=sums["attempts"],
        failed=sums["failed"],
        prompt_tokens=sums["prompts"],
        completion_tokens=sums["completions"],
        cost=sums["costs"],
        p50=percentile(times, 0.5),
        p95=percentile(times, 0.95),
    )


def errors(rows: Rows) -> list[tuple[str, str, int]]:
    """Return (backend, error class, count), most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for backend, error, count in rows.kept.filter(FAILED).values_list("backend", "error").annotate(count=Count("id")):
        found[backend, error] += count
    for backend, counts in rows.days.filter(failed__gt=0).values_list("backend", "errors"):
        found.update({(backend, error): count for error, count in counts.items()})
    return [(backend, error, count) for (backend, error), count in found.most_common(20)]


def choices(*, viewer: User) -> dict[str, list[str]]:
    """Return the possible values of the filters, from the last 90 days."""
    rows = attempts(Filters(period="90d"), viewer=viewer)
    names = [name for name in GROUPS if name != "user" or viewer.is_staff]
    return {name: sorted(set().union(*(_values(queryset, GROUPS[name]) for queryset in rows))) for name in names}


def _values(rows: QuerySet[Any], name: str) -> set[str]:
    return {value for value in rows.values_list(name, flat=True).distinct()[:200] if value}


def hourly_counts(*, hours: int = 24) -> dict[str, list[tuple[int, int]]]:
    """Return (answered, failed) attempts by backend for each of the last hours, oldest first."""
    now = timezone.now().replace(minute=0, second=0, microsecond=0)
    first = now - timedelta(hours=hours - 1)
    counts: dict[str, list[tuple[int, int]]] = {}

    def count(backend: str, hour: datetime, attempts: int, failed: int) -> None:
        row = counts.setdefault(backend, [(0, 0)] * hours)
        place = min(int((hour - first) / timedelta(hours=1)), hours - 1)
        row[place] = (row[place][0] + attempts - failed, row[place][1] + failed)

    waiting = Attempt.objects.filter(created_at__gte=first, summed=None).exclude(outcome="skipped").order_by()
    by_hour = waiting.annotate(start=TruncHour("created_at", tzinfo=UTC)).values_list("backend", "start")
    for backend, start, attempts, failed in by_hour.annotate(Count("id"), failures=Count("id", filter=FAILED)):
        count(backend, start, attempts, failed)
    sums = UsageDay.objects.filter(Q(day__gt=first.date()) | Q(hour__gte=first.hour), day__gte=first.date(), hour__isnull=False).order_by()
    for backend, day, hour, attempts, failed in sums.values_list("backend", "day", "hour").annotate(Sum("attempts"), Sum("failed")):
        count(backend, datetime(day.year, day.month, day.day, hour, tzinfo=UTC), attempts, failed)
    return counts
