"""Read usage for the usage page and the status page, from the sums and from the attempts that are not summed yet (`usage_sums`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final, TypeVar

from django.db.models import Exists, OuterRef, QuerySet, Sum
from django.utils import timezone

from webapp.accounts.models import User
from webapp.backends.models import Attempt, UsageSum
from webapp.backends.reporting import usage_sums, usage_table
from webapp.backends.reporting.usage_sums import COMBINATION, GROUPINGS, Grouping
from webapp.backends.reporting.usage_table import UsageTable

PERIODS: Final = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30), "90d": timedelta(days=90)}
HOURLY: Final = frozenset({"24h"})
DIMENSIONS: Final = (*COMBINATION, "user")
"""The filters of the page, in their order."""
LARGEST: Final = 20
"""Number of rows of each table of the page."""
MAX_CHOICES: Final = 200
MAX_WAITING: Final = 10_000
"""Number of attempts without sums that a page reads. There are more only after an import, or when the background service stood still."""
MAX_READS: Final = 3
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Filters:
    """The filters of the page. Unknown values mean no filter."""

    period: str = "7d"
    values: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Filters:
        """Return the filters that a query string asks for."""
        period = query.get("period", "7d")
        return cls(period if period in PERIODS else "7d", {name: query[name][:300] for name in DIMENSIONS if query.get(name)})

    @property
    def since(self) -> datetime:
        """The start of the period: of an hour for a day, of a day for longer ones."""
        start = timezone.now() - PERIODS[self.period]
        return usage_sums.hour_of(start) if self.hourly else usage_sums.day_of(start)

    @property
    def hourly(self) -> bool:
        """Whether the charts have one bar for each hour."""
        return self.period in HOURLY

    @property
    def columns(self) -> dict[str, str]:
        """The filters by columns of the sums."""
        return {name: value for name, value in self.values.items() if name != "user"}


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures at the top of the page. `cost` is None if no attempt has a known cost; times are in ms."""

    requests: int = 0
    attempts: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated_tokens: int = 0
    cost: Decimal | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True)
class Bucket:
    """An hour or a day."""

    start: datetime
    label: str
    ok: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    p50: float | None = None
    p95: float | None = None


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


@dataclass(frozen=True, slots=True)
class Usage:
    """What the page shows. `complete` is False if more attempts wait to be summed up than a page reads."""

    totals: Totals
    buckets: list[Bucket]
    groups: dict[str, list[Group]]
    errors: list[tuple[str, str, int]]
    complete: bool


@dataclass(frozen=True, slots=True)
class _Scope:
    """The attempts that a viewer sees: all, or those of one user. `user_id` is 0 if there is no such user."""

    filters: Filters
    user_id: int | None

    @classmethod
    def of(cls, filters: Filters, viewer: User) -> _Scope:
        wanted = filters.values.get("user")
        if viewer.is_staff and not wanted:
            return cls(filters, None)
        if viewer.is_staff:
            return cls(filters, User.objects.filter(username=wanted).values_list("pk", flat=True).first() or 0)
        return cls(filters, viewer.pk if wanted in {None, viewer.get_username()} else 0)

    def sums(self, grouping: Grouping) -> QuerySet[UsageSum]:
        found = UsageSum.objects.of(grouping, hourly=self.filters.hourly, since=self.filters.since).filter(**self.filters.columns)
        return found if self.user_id is None else found.filter(user_id=self.user_id)


def read(filters: Filters, *, viewer: User) -> Usage:
    """Return the usage of a period: of all users for staff, otherwise the viewer's own."""
    scope = _Scope.of(filters, viewer)
    return _consistent(lambda: _read(scope, with_users=viewer.is_staff))


def read_combinations(filters: Filters, *, viewer: User) -> UsageTable:
    """Return the sums of every combination of dimensions, by day or hour, of the attempts that `read` counts."""
    scope = _Scope.of(filters, viewer)
    sums = scope.sums(Grouping.USER_COMBINATION).order_by()
    return _consistent(
        lambda: usage_table.concatenate([usage_sums.read_sums(sums), _waiting(filters.since, scope)[0]]).group(
            ("start", "user", *COMBINATION)
        )
    )


def _consistent(read_once: Callable[[], T]) -> T:
    """Read sums and attempts again if sums changed in between: attempts that moved would be missing, or counted twice."""
    for _ in range(MAX_READS):
        number = usage_sums.round_number()
        found = read_once()
        if usage_sums.round_number() == number:
            break
    return found


def _read(scope: _Scope, *, with_users: bool) -> Usage:
    filters = scope.filters
    sums = usage_sums.read_sums(scope.sums(Grouping.COMBINATION if scope.user_id is None else Grouping.USER_COMBINATION))
    waiting, complete = _waiting(filters.since, scope)
    table = usage_table.concatenate([sums, waiting]) if len(waiting) else sums
    combinations = table.group(COMBINATION)
    groups = {name: _largest(combinations.group((name,)), name) for name in ("backend", "model", "route")}
    if with_users:
        groups["user"] = _users(scope, waiting)
    return Usage(_totals(combinations), _buckets(table.group(("start",)), filters), groups, _errors(combinations), complete)


def _waiting(since: datetime, scope: _Scope | None = None) -> tuple[UsageTable, bool]:
    """Return the newest attempts that are not summed yet, by hour or day, and whether these are all."""
    filters = scope.filters if scope else Filters("24h")
    found = Attempt.objects.filter(created_at__gte=since, summed=None).order_by("-created_at", "-id")
    if scope and scope.user_id is not None:
        found = found.filter(user_id=scope.user_id)
    rows = usage_sums.read_attempts(found[: MAX_WAITING + 1])
    table = usage_sums.table_of(rows[:MAX_WAITING][::-1])
    # The attempts of a request may have several backends, and its last one counts it. So the filters come after `table_of`.
    columns = [(table.labels(name), value) for name, value in filters.columns.items()]
    table = table.select([place for place in range(len(table)) if all(labels[place] == value for labels, value in columns)])
    return (table if filters.hourly else usage_sums.by_day(table)), len(rows) <= MAX_WAITING


def _totals(combinations: UsageTable) -> Totals:
    total = combinations.group(())
    if not len(total):
        return Totals()
    requests, attempts, failed, prompts, completions, estimated, units, priced = total.counts[0].tolist()
    p50, p95, p99 = (total.percentiles(part)[0] for part in (0.5, 0.95, 0.99))
    return Totals(requests, attempts, failed, prompts, completions, estimated, usage_table.cost_of(units, priced), p50, p95, p99)


def _buckets(table: UsageTable, filters: Filters) -> list[Bucket]:
    """Return every hour or day of the period, including empty ones."""
    places = {start: place for place, start in enumerate(table.labels("start"))}
    step = timedelta(hours=1) if filters.hourly else timedelta(days=1)
    p50, p95 = table.percentiles(0.5), table.percentiles(0.95)
    found, start, now = [], filters.since, timezone.now()
    while start <= now:
        label = f"{start:%H:%M}" if filters.hourly else f"{start:%b} {start.day}"
        if (place := places.get(start)) is None:
            found.append(Bucket(start, label))
        else:
            _requests, attempts, failed, prompts, completions, _estimated, units, _priced = table.counts[place].tolist()
            found.append(Bucket(start, label, attempts - failed, failed, prompts, completions, units / 1e8, p50[place], p95[place]))
        start += step
    return found


def _largest(table: UsageTable, dimension: str) -> list[Group]:
    """Return the largest groups by tokens."""
    p50, p95 = table.percentiles(0.5), table.percentiles(0.95)
    found = []
    for place, (name, counts) in enumerate(zip(table.labels(dimension), table.counts.tolist(), strict=True)):
        _requests, attempts, failed, prompts, completions, _estimated, units, priced = counts
        cost = usage_table.cost_of(units, priced)
        found.append(Group(name or "", attempts, failed, prompts, completions, cost, p50[place], p95[place]))
    return sorted(found, key=lambda one: (-one.completion_tokens, -one.prompt_tokens, -one.attempts, one.name))[:LARGEST]


def _users(scope: _Scope, waiting: UsageTable) -> list[Group]:
    """Return the largest users. Their number has no bound, so the database chooses them."""
    sums = _user_sums(scope)
    by_user = sums.values("user_id").annotate(completions=Sum("completion_tokens"), prompts=Sum("prompt_tokens"), all=Sum("attempts"))
    largest = by_user.order_by("-completions", "-prompts", "-all").values_list("user_id", flat=True)[:LARGEST]
    chosen = {*largest, *waiting.values["user"]}
    ids = chosen - {None}
    tables = [usage_sums.read_sums(sums.filter(user_id__in=ids))] if ids else []
    if None in chosen:
        tables.append(usage_sums.read_sums(sums.filter(user__isnull=True)))
    table = usage_table.concatenate([*tables, waiting]).group(("user",))
    names = dict(User.objects.filter(pk__in=ids).values_list("pk", "username"))
    table.values["user"][:] = [names.get(pk, "") for pk in table.values["user"]]
    return _largest(table, "user")


def _user_sums(scope: _Scope) -> QuerySet[UsageSum]:
    """Return the sums of the smallest grouping that has the user and the filtered dimensions."""
    needed = {"user", *scope.filters.columns}
    grouping = min((one for one, names in GROUPINGS.items() if needed <= {*names}), key=lambda one: len(GROUPINGS[one]))
    return scope.sums(grouping).order_by()


def _errors(combinations: UsageTable) -> list[tuple[str, str, int]]:
    """Return (backend, error class, count), most frequent first."""
    table = combinations.group(("backend",))
    backends = table.labels("backend")
    found = [(backends[row], table.error_names[error], count) for row, error, count in table.errors.tolist()]
    return sorted(found, key=lambda one: (-one[2], one[0], one[1]))[:LARGEST]


def choices(*, viewer: User) -> dict[str, list[str]]:
    """Return the possible values of the filters, from the last 90 days."""
    scope = _Scope.of(Filters("90d"), viewer)
    sums = scope.sums(Grouping.COMBINATION if scope.user_id is None else Grouping.USER_COMBINATION)
    rows: list[Sequence[Any]] = list(sums.order_by().values_list(*COMBINATION).distinct())
    waiting, _complete = _waiting(scope.filters.since, scope)
    columns = list(zip(*rows, strict=True)) or [()] * len(COMBINATION)
    found = {
        name: sorted({*column, *waiting.values[name]} - {"", None})[:MAX_CHOICES] for name, column in zip(COMBINATION, columns, strict=True)
    }
    return {**found, "user": _usernames(scope, waiting)} if viewer.is_staff else found


def _usernames(scope: _Scope, waiting: UsageTable) -> list[str]:
    """Return the names of users with attempts: a look into an index for each user."""
    sums = UsageSum.objects.of(Grouping.USER, hourly=False, since=scope.filters.since).filter(user=OuterRef("pk"))
    known = User.objects.filter(Exists(sums)).order_by("username").values_list("username", flat=True)[:MAX_CHOICES]
    new = User.objects.filter(pk__in={*waiting.values["user"]} - {None}).values_list("username", flat=True)
    return sorted({*known, *new})[:MAX_CHOICES]


def hourly_counts(*, hours: int = 24) -> dict[str, list[tuple[int, int]]]:
    """Return (answered, failed) attempts by backend for each of the last hours, oldest first."""
    first = usage_sums.hour_of(timezone.now()) - timedelta(hours=hours - 1)
    counts: dict[str, list[tuple[int, int]]] = {}
    table = _consistent(lambda: _hourly(first))
    rows = zip(
        table.labels("backend"), table.labels("start"), table.column("attempts").tolist(), table.column("failed").tolist(), strict=True
    )
    for backend, start, attempts, failed in rows:
        row = counts.setdefault(backend, [(0, 0)] * hours)
        row[min((start - first) // timedelta(hours=1), hours - 1)] = (attempts - failed, failed)
    return counts


def _hourly(first: datetime) -> UsageTable:
    sums = UsageSum.objects.of(Grouping.BACKEND, hourly=True, since=first)
    return usage_table.concatenate([usage_sums.read_sums(sums), _waiting(first)[0]]).group(("start", "backend"))
