"""Sum up attempts by hour and day, and delete those that the log no longer keeps.

The usage page and the budgets read the sums (`UsageDay`) and the attempts that are not summed yet. Their cost does not grow with the log.
Every attempt is in one of the two, never in both: it is marked in the transaction that adds it.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Final

from django.conf import settings
from django.db import transaction

from webapp.backends.models import Attempt, UsageDay
from webapp.core.background import run_tasks
from webapp.core.database import in_database

SUM_SECONDS: Final = 10.0
"""The pause between two looks for new attempts."""
DELETE_SECONDS: Final = 3600.0
AT_ONCE: Final = 1000
"""Attempts summed or deleted in one transaction: a fraction of a second, in which SQLite lets no other process write."""
HOURS_KEPT: Final = timedelta(days=2)
"""The time after which the sums of hours are merged into days."""
BREATH_SECONDS: Final = 0.2
"""Pause between two such transactions."""
GROWTH: Final = 1.05
"""Ratio of neighboring bins of the histogram: a percentile read from it is off by at most 2.5 %."""


def bin_of(milliseconds: float) -> int:
    """Return the bin of the histogram for a time."""
    return round(math.log(max(milliseconds, 1.0), GROWTH))


def milliseconds_of(number: int) -> float:
    """Return the center of a bin."""
    return GROWTH**number


def oldest_kept(now: datetime) -> datetime | None:
    """Return the time before which attempts are summed; None if all are kept."""
    days = settings.ATTEMPT_RETENTION_DAYS
    return (now - timedelta(days=days)).replace(hour=0, minute=0, second=0, microsecond=0) if days > 0 else None


@transaction.atomic
def add_up(before: datetime, *, at_once: int = AT_ONCE) -> int:
    """Sum up the oldest attempts before a time, `at_once` at most, and mark them; return how many there were."""
    waiting = Attempt.objects.filter(summed=None, created_at__lt=before).order_by("created_at", "id")
    rows = list(waiting.select_for_update(skip_locked=True)[:at_once] if _locks() else waiting[:at_once])
    if rows:
        _store(_sums(_with_last(rows)))
        Attempt.objects.filter(pk__in=[row.pk for row in rows]).update(summed=True)
    return len(rows)


@transaction.atomic
def delete_old(before: datetime, *, at_once: int = AT_ONCE) -> int:
    """Delete the oldest summed attempts before a time, `at_once` at most; return how many there were."""
    old = list(Attempt.objects.filter(summed=True, created_at__lt=before).order_by("created_at").values_list("pk", flat=True)[:at_once])
    Attempt.objects.filter(pk__in=old).delete()
    return len(old)


@transaction.atomic
def merge_hours(before: date) -> int:
    """Merge the sums of hours of the oldest day before `before` into its day; return how many rows there were."""
    hours = UsageDay.objects.filter(hour__isnull=False, day__lt=before)
    oldest = hours.order_by("day").values_list("day", flat=True).first()
    rows = list(hours.filter(day=oldest)) if oldest else []
    found: dict[Key, UsageDay] = {}
    for row in rows:
        key = (row.day, None, row.backend, row.model, row.route, row.source, row.user_id)
        _merge(found.setdefault(key, _empty(key)), row)
    _store(found)
    UsageDay.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def _locks() -> bool:
    """Return whether the database locks rows. SQLite allows one writer at a time instead."""
    return bool(transaction.get_connection().features.has_select_for_update_skip_locked)


def _with_last(rows: list[Attempt]) -> list[tuple[Attempt, bool]]:
    """Yield each attempt, and whether it was its request's last: requests are counted once."""
    made = [row for row in rows if row.outcome != "skipped"]
    ids = {row.request_id for row in made}
    more = Attempt.objects.filter(request_id__in=ids, summed=None).exclude(outcome="skipped").exclude(pk__in=[row.pk for row in made])
    going_on = set(more.values_list("request_id", flat=True))
    last = {row.request_id: row.pk for row in made}
    return [(row, last[row.request_id] == row.pk and row.request_id not in going_on) for row in made]


Key = tuple[date, int | None, str, str, str, str, int | None]
"""(day, hour, backend, model, route, source, user)."""
SUMMED: Final = ("requests", "attempts", "failed", "prompt_tokens", "completion_tokens", "estimated_tokens")


def _sums(rows: Iterable[tuple[Attempt, bool]]) -> dict[Key, UsageDay]:
    """Return the sums of these attempts by key; skipped ones count nowhere."""
    found: dict[Key, UsageDay] = {}
    for row, last in rows:
        when = row.created_at.astimezone(UTC)
        key = (when.date(), when.hour, row.backend, row.model, row.route, row.source, row.user_id)
        _add(found.setdefault(key, _empty(key)), row, last=last)
    return found


def _empty(key: Key) -> UsageDay:
    return UsageDay(**dict(zip(("day", "hour", "backend", "model", "route", "source", "user_id"), key, strict=True)))


def _store(found: Mapping[Key, UsageDay]) -> None:
    """Add sums to the rows of their keys, or insert them."""
    known = UsageDay.objects.filter(day__in={key[0] for key in found}, hour__in={key[1] for key in found})
    if any(key[1] is None for key in found):
        known = UsageDay.objects.filter(day__in={key[0] for key in found}, hour__isnull=True)
    rows = {
        (row.day, row.hour, row.backend, row.model, row.route, row.source, row.user_id): row
        for row in (known.select_for_update() if _locks() else known)
    }
    for key in found.keys() & rows.keys():
        _merge(rows[key], found[key])
    UsageDay.objects.bulk_update([rows[key] for key in found.keys() & rows.keys()], [*SUMMED, "cost", "first_tokens", "errors"])
    UsageDay.objects.bulk_create([found[key] for key in found.keys() - rows.keys()])


def _merge(row: UsageDay, other: UsageDay) -> None:
    for name in SUMMED:
        setattr(row, name, getattr(row, name) + getattr(other, name))
    if other.cost is not None:
        row.cost = (row.cost or Decimal(0)) + other.cost
    row.first_tokens = dict(Counter(row.first_tokens) + Counter(other.first_tokens))
    row.errors = dict(Counter(row.errors) + Counter(other.errors))


def _add(day: UsageDay, row: Attempt, *, last: bool) -> None:
    day.requests += last
    day.attempts += 1
    day.prompt_tokens += row.prompt_tokens
    day.completion_tokens += row.completion_tokens
    day.estimated_tokens += row.prompt_tokens + row.completion_tokens if row.estimated else 0
    if row.cost is not None:
        day.cost = (day.cost or Decimal(0)) + row.cost
    if row.outcome == "failed":
        day.failed += 1
        day.errors[row.error] = day.errors.get(row.error, 0) + 1
    elif row.first_token_ms is not None:
        name = str(bin_of(row.first_token_ms))
        day.first_tokens[name] = day.first_tokens.get(name, 0) + 1


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """Run the background service."""
    async with run_tasks(usage=_sum_up, retention=_delete):
        yield


async def _sum_up() -> None:
    while True:
        full = await in_database(add_up, datetime.now(UTC), at_once=AT_ONCE) == AT_ONCE
        merged = 0 if full else await in_database(merge_hours, (datetime.now(UTC) - HOURS_KEPT).date())
        await asyncio.sleep(BREATH_SECONDS if full or merged else SUM_SECONDS)


async def _delete() -> None:
    while True:
        before = oldest_kept(datetime.now(UTC))
        full = before is not None and await in_database(delete_old, before, at_once=AT_ONCE) == AT_ONCE
        await asyncio.sleep(BREATH_SECONDS if full else DELETE_SECONDS)
