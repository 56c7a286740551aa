"""Sum old attempts by day (`UsageDay`) and delete them, so that usage and budgets stay right beyond the retention time."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.conf import settings
from django.db import transaction

from webapp.backends.models import Attempt, UsageDay
from webapp.core.background import run_tasks
from webapp.core.database import in_database

WAKE_SECONDS: Final = 3600.0
AT_ONCE: Final = 1000
"""Attempts summed in one transaction: a fraction of a second, during which SQLite blocks other writers."""
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
    """Sum and delete the oldest attempts before a time, `at_once` at most; return their number."""
    old = Attempt.objects.filter(created_at__lt=before).order_by("created_at", "id")
    rows = list(old.select_for_update(skip_locked=True)[:at_once] if _locks() else old[:at_once])
    UsageDay.objects.bulk_create(_days(_with_last(rows)))
    Attempt.objects.filter(pk__in=[row.pk for row in rows]).delete()
    return len(rows)


def _locks() -> bool:
    """Return whether the database locks rows. SQLite allows one writer at a time instead."""
    return bool(transaction.get_connection().features.has_select_for_update_skip_locked)


def _with_last(rows: list[Attempt]) -> list[tuple[Attempt, bool]]:
    """Yield each attempt, and whether it was its request's last: requests are counted once."""
    made = [row for row in rows if row.outcome != "skipped"]
    ids = {row.request_id for row in made}
    more = Attempt.objects.filter(request_id__in=ids).exclude(outcome="skipped").exclude(pk__in=[row.pk for row in made])
    going_on = set(more.values_list("request_id", flat=True))
    last = {row.request_id: row.pk for row in made}
    return [(row, last[row.request_id] == row.pk and row.request_id not in going_on) for row in made]


def _days(rows: Iterable[tuple[Attempt, bool]]) -> Iterable[UsageDay]:
    """Return one sum for each day, backend, model, route, source, and user."""
    found: dict[tuple[Any, ...], UsageDay] = {}
    for row, last in rows:
        key = (row.created_at.astimezone(UTC).date(), row.backend, row.model, row.route, row.source, row.user_id)
        if key not in found:
            found[key] = UsageDay(**dict(zip(("day", "backend", "model", "route", "source", "user_id"), key, strict=True)))
        _add(found[key], row, last=last)
    return found.values()


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
    """Run the summing as a background service."""
    async with run_tasks(retention=_forever):
        yield


async def _forever() -> None:
    while True:
        before = oldest_kept(datetime.now(UTC))
        more = before is not None and await in_database(add_up, before, at_once=AT_ONCE) == AT_ONCE
        await asyncio.sleep(BREATH_SECONDS if more else WAKE_SECONDS)
