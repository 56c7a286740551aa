"""Sum up attempts by hour and day.

The usage page and the budgets read the sums (`UsageSum`) and the attempts that are not summed yet. Their cost does not grow with the log.
Every attempt is in one of the two, never in both: the transaction that adds it also marks it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from django.db import connection, transaction
from django.db.models import F, Min, QuerySet, Sum, TextField
from django.db.models.functions import Cast

from webapp.backends.models import Attempt, UsageRound, UsageSum
from webapp.backends.reporting import usage_table
from webapp.backends.reporting.usage_table import COUNTS, DIMENSIONS, UsageTable
from webapp.core import bulk

Grouping = UsageSum.Grouping
COMBINATION: Final = ("backend", "model", "route", "source")
GROUPINGS: Final[dict[Grouping, tuple[str, ...]]] = {
    Grouping.BACKEND: ("backend",),
    Grouping.COMBINATION: COMBINATION,
    Grouping.USER: ("user",),
    Grouping.USER_BACKEND: ("user", "backend"),
    Grouping.USER_MODEL: ("user", "model"),
    Grouping.USER_ROUTE: ("user", "route"),
    Grouping.USER_SOURCE: ("user", "source"),
    Grouping.USER_COMBINATION: ("user", *COMBINATION),
}
AT_ONCE: Final = 5000
"""Attempts summed in one transaction: a fraction of a second, in which SQLite lets no other process write."""
HOURS_KEPT: Final = timedelta(days=2)
"""The time for which hours are told apart."""
CHUNK: Final = 50_000
"""Attempts that a rebuild holds in memory at once."""
MAX_REQUEST: Final = timedelta(hours=1)
"""The longest time between two attempts of a request that a rebuild looks for beyond the end of a day."""
MEASURES: Final = ("outcome", "error", "first_token_ms", "prompt_tokens", "completion_tokens", "estimated", "cost")
COLUMNS: Final = ("id", "request_id", "created_at", *COMBINATION, "user_id", *MEASURES)
SUM_COLUMNS: Final = ("start", *COMBINATION, "user_id", *COUNTS[: COUNTS.index("cost") + 1], "first_tokens", "errors")
OUTCOME: Final = COLUMNS.index("outcome")


def hour_of(value: datetime | str) -> datetime:
    """Return the start of the hour (UTC) of a time, as an object or in SQLite's form."""
    if isinstance(value, str):
        return _hour_of_text(value[:13])
    value = value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)  # SQLite has naive times, in UTC
    return value.replace(minute=0, second=0, microsecond=0)


@lru_cache(maxsize=5000)
def _hour_of_text(text: str) -> datetime:
    return datetime.fromisoformat(f"{text}:00").replace(tzinfo=UTC)


def day_of(value: datetime) -> datetime:
    """Return the start of the day (UTC)."""
    return value.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def read_attempts(attempts: QuerySet[Attempt]) -> list[Any]:
    """Return attempts as tuples of `COLUMNS`."""
    return bulk.fetch(attempts.values_list(*COLUMNS))


def table_of(rows: Sequence[Any], unfinished: Collection[Any] = ()) -> UsageTable:
    """Return attempts, the oldest first, as a table by hour. Skipped ones count nowhere.

    Args:
        rows: tuples of `COLUMNS`.
        unfinished: the requests that have later attempts elsewhere.
    """
    made = [row for row in rows if row[OUTCOME] != "skipped"]
    columns = list(zip(*made, strict=True)) or [()] * len(COLUMNS)
    _ids, requests, created, *rest = columns
    last = {request: place for place, request in enumerate(requests)}
    flags = [last[request] == place and request not in unfinished for place, request in enumerate(requests)]
    dimensions = [[hour_of(value) for value in created], *rest[: len(DIMENSIONS) - 1]]
    return usage_table.from_attempts(dimensions, rest[len(DIMENSIONS) - 1 :], flags)


def read_sums(sums: QuerySet[UsageSum]) -> UsageTable:
    """Return stored sums as a table."""
    # As text, because the conversion of each to an object would take longer than the query.
    rows = bulk.fetch(sums.order_by().values_list(Cast("start", TextField()), *SUM_COLUMNS[1:]))
    starts = {value: hour_of(value) for value in {row[0] for row in rows}}
    return usage_table.from_sums([(starts[row[0]], *row[1:]) for row in rows])


def round_number() -> int:
    """Return how often the sums have changed."""
    return UsageRound.objects.values_list("number", flat=True).first() or 0


def _begin_round() -> None:
    """Lock the sums until the end of the transaction."""
    if not UsageRound.objects.filter(pk=1).update(number=F("number") + 1):
        UsageRound.objects.get_or_create(pk=1)
        UsageRound.objects.filter(pk=1).update(number=F("number") + 1)


@transaction.atomic
def add_up(before: datetime, *, at_once: int = AT_ONCE) -> int:
    """Sum up the oldest attempts before a time, `at_once` at most, and mark them; return how many there were."""
    _begin_round()
    waiting = Attempt.objects.filter(summed=None)
    rows = read_attempts(waiting.filter(created_at__lt=before).order_by("created_at", "id")[:at_once])
    if rows:
        ids = {row[0] for row in rows}
        same = waiting.filter(request_id__in={row[1] for row in rows}).exclude(outcome="skipped").order_by()
        unfinished = {request for pk, request in bulk.fetch(same.values_list("pk", "request_id")) if pk not in ids}
        _store(table_of(rows, unfinished), hours_since=before - HOURS_KEPT)
        Attempt.objects.filter(pk__in=ids).update(summed=True)
    return len(rows)


@transaction.atomic
def delete_hours(before: datetime) -> int:
    """Delete the sums of hours before a time; return how many there were. The sums of their days stay."""
    return UsageSum.objects.filter(grouping__in=Grouping.values, hourly__in=[True], start__lt=before).delete()[0]


def _store(table: UsageTable, *, hours_since: datetime) -> None:
    """Add a table by hour to the stored sums."""
    if not len(table):
        return
    hours = table.group(DIMENSIONS)
    recent = [place for place, start in enumerate(hours.labels("start")) if start >= hour_of(hours_since)]
    for leaf, hourly in ((by_day(hours), False), (hours.select(recent), True)):
        for grouping, dimensions in GROUPINGS.items():
            if len(leaf):
                _store_grouping(leaf.group(("start", *dimensions)), grouping, hourly=hourly)


def by_day(table: UsageTable) -> UsageTable:
    """Return a table by hour as one by day."""
    days = [day_of(start) for start in table.values["start"]]
    distinct = sorted(set(days))
    codes = table.codes.copy()
    codes[:, 0] = [distinct.index(days[code]) for code in table.codes[:, 0].tolist()]
    return UsageTable({**table.values, "start": distinct}, codes, table.counts, table.bins, table.errors, table.error_names).group(
        DIMENSIONS
    )


def _store_grouping(table: UsageTable, grouping: Grouping, *, hourly: bool) -> None:
    """Add a table, whose rows are those of a grouping, to the stored rows."""
    dimensions = ("start", *GROUPINGS[grouping])
    known = [read_sums(UsageSum.objects.filter(key__in=keys)) for keys in _chunks(_keys(table, grouping, hourly=hourly), AT_ONCE)]
    if any(map(len, known)):
        table = usage_table.concatenate([table, *known]).group(dimensions)
    columns: list[Sequence[Any]] = [table.labels(name) for name in DIMENSIONS]
    columns = [
        [value or "" for value in column] if name in COMBINATION else column for name, column in zip(DIMENSIONS, columns, strict=True)
    ]
    counts = [table.column(name).tolist() for name in COUNTS]
    costs = [usage_table.cost_of(units, priced) for units, priced in zip(counts[-2], counts[-1], strict=True)]
    fixed: list[Sequence[Any]] = [_keys(table, grouping, hourly=hourly), [int(grouping)] * len(table), [hourly] * len(table)]
    bulk.execute(_upsert(), zip(*fixed, *columns, *counts[:-2], costs, table.stored_histograms(), table.stored_errors(), strict=True))


def _keys(table: UsageTable, grouping: Grouping, *, hourly: bool) -> list[str]:
    """Return the key of each row."""
    prefix = f"{int(grouping)} {int(hourly)} "
    rows = zip(table.labels("start"), *(table.labels(name) for name in GROUPINGS[grouping]), strict=True)
    return [_digest(f"{prefix}{start.isoformat()} {values!r}") for start, *values in rows]


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _upsert() -> str:
    """Return the statement that writes a row, or replaces the sums of the row with its key."""
    quote = connection.ops.quote_name
    columns = ("key", "grouping", "hourly", *SUM_COLUMNS)
    changed = SUM_COLUMNS[len(DIMENSIONS) :]
    return (
        f"INSERT INTO {quote(UsageSum._meta.db_table)} ({', '.join(map(quote, columns))}) "  # noqa: S608 - names of our own model
        f"VALUES ({', '.join(['%s'] * len(columns))}) ON CONFLICT ({quote('key')}) "
        f"DO UPDATE SET {', '.join(f'{quote(name)} = excluded.{quote(name)}' for name in changed)}"
    )


def _chunks(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]


def days_with_attempts(since: datetime | None) -> list[datetime]:
    """Return the days from that of the oldest attempt, or from `since`, up to today."""
    oldest = Attempt.objects.aggregate(oldest=Min("created_at"))["oldest"]
    if oldest is None:
        return []
    first = max(day_of(oldest), day_of(since)) if since else day_of(oldest)
    return [first + timedelta(days=n) for n in range((day_of(datetime.now(UTC)) - first).days + 1)]


@transaction.atomic
def rebuild_day(day: datetime) -> int | None:
    """Make the sums of a day again from its attempts.

    Returns:
        The number of attempts; None if the sums have more attempts than the log still holds, and so stay as they are.
    """
    _begin_round()
    end = day + timedelta(days=1)
    log = Attempt.objects.filter(created_at__gte=day, created_at__lt=end)
    # All values of the first two columns, so that an index finds the day.
    sums = UsageSum.objects.filter(grouping__in=Grouping.values, hourly__in=[False, True], start__gte=day, start__lt=end)
    waiting = log.filter(summed=None).exclude(outcome="skipped").count()
    attempts = log.exclude(outcome="skipped").count()
    known = sums.filter(grouping=Grouping.BACKEND, hourly__in=[False]).aggregate(attempts=Sum("attempts", default=0))["attempts"]
    if attempts - waiting < known:
        return None
    sums.delete()
    later = Attempt.objects.filter(created_at__gte=end, created_at__lt=end + MAX_REQUEST).exclude(outcome="skipped")
    seen = {row[0] for row in bulk.fetch(later.order_by().values_list("request_id"))}
    tables = [table.group(DIMENSIONS) for table in _tables_backward(log, seen)]
    if tables:
        _store(usage_table.concatenate(tables), hours_since=datetime.now(UTC) - HOURS_KEPT)
    log.filter(summed=None).update(summed=True)
    return attempts


def _tables_backward(log: QuerySet[Attempt], seen: set[Any]) -> Iterable[UsageTable]:
    """Yield the attempts in chunks, the newest first. `seen` holds the requests of later ones, and grows."""
    newest_first = log.order_by("-created_at", "-id").values_list(*COLUMNS)
    for rows in bulk.fetch_chunks(newest_first, CHUNK):
        yield table_of(rows[::-1], seen)
        seen.update(row[1] for row in rows if row[OUTCOME] != "skipped")
