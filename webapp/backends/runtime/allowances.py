"""Track the remaining requests and tokens of tokens, users, and groups in database rows that all processes share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from django.db import transaction

from webapp.backends.config.limits import Limit
from webapp.backends.models import Allowance
from webapp.patterns.errors import BudgetSpent, ChainError, LimitReached
from webapp.patterns.units import count, duration

MINUTE = 60.0
ROUNDING = 1e-6
NEVER = 24 * 3600.0
"""Seconds after which a client may ask again when the limit is 0."""


@dataclass(frozen=True, slots=True)
class Standing:
    """The remaining part of one limit per minute, and the seconds until it is full again."""

    limit: int
    left: int
    reset: float


@dataclass(frozen=True, slots=True)
class Taken:
    """The result of taking a request: the refusal, if any, and the state of the limits with the least room."""

    refusal: ChainError | None = None
    requests: Standing | None = None
    tokens: Standing | None = None


@transaction.atomic
def take(limits: Sequence[Limit], now: float, *, spare: float = 0.0) -> Taken:
    """Take one request from every allowance, or from none if one refuses, at `now` seconds since the epoch.

    Args:
        spare: the part of each limit per minute, 0 to 1, that must be left for others.
    """
    rows = list(_locked(limits, now))
    problems = [problem for limit, row in rows for problem in _problems(limit, row, now, spare)]
    if not problems:
        for _, row in rows:
            row.requests_left -= 1
            row.save()
    return Taken(
        max(problems, key=lambda problem: problem.retry_after or 0, default=None),
        _tightest((limit.requests, row.requests_left) for limit, row in rows),
        _tightest((limit.tokens, row.tokens_left) for limit, row in rows),
    )


@transaction.atomic
def charge(limits: Sequence[Limit], now: float, *, tokens: int, cost: float) -> None:
    """Subtract the usage of a request."""
    for _, row in _locked(limits, now):
        row.tokens_left -= tokens
        row.spent += Decimal(str(cost))
        row.save()


def _locked(limits: Sequence[Limit], now: float) -> Iterator[tuple[Limit, Allowance]]:
    """Lock the rows in a fixed order, and add the refill since they were last written."""
    for limit in sorted(limits, key=lambda limit: (limit.kind, limit.key)):
        full = {"requests_left": limit.requests or 0, "tokens_left": limit.tokens or 0, "refilled_at": now, "month": _month(now)}
        row, _ = Allowance.objects.select_for_update().get_or_create(**{f"{limit.kind}_id": limit.key}, defaults=full)
        _refill(row, limit, now)
        yield limit, row


def _refill(row: Allowance, limit: Limit, now: float) -> None:
    requests, tokens = float(limit.requests or 0), float(limit.tokens or 0)
    minutes = max(0.0, now - row.refilled_at) / MINUTE
    row.requests_left = min(requests, row.requests_left + minutes * requests)
    row.tokens_left = min(tokens, row.tokens_left + minutes * tokens)
    row.refilled_at = max(now, row.refilled_at)
    if row.month != _month(now):
        row.month, row.spent = _month(now), Decimal(0)


def _problems(limit: Limit, row: Allowance, now: float, spare: float) -> Iterator[ChainError]:
    """Return the reasons why no request is possible now."""
    if limit.budget is not None and row.spent >= limit.budget:
        message = f"The monthly budget of {limit.who} ({limit.budget.normalize():f}) is spent. It starts anew on the first of next month."
        yield BudgetSpent(message, retry_after=_seconds_to_next_month(now))
    if limit.requests is not None:
        yield from _lack(f"{limit.who} may make {count(limit.requests, 'request')}", limit.requests, row.requests_left, spare)
    if limit.tokens is not None:
        yield from _lack(f"{limit.who} may use {count(limit.tokens, 'token')}", limit.tokens, row.tokens_left, spare)


def _lack(rule: str, per_minute: int, left: float, spare: float) -> Iterator[LimitReached]:
    missing = 1 + math.floor(spare * per_minute) - left
    if missing > ROUNDING:
        wait = missing / per_minute * MINUTE if per_minute else NEVER
        rule = f"{rule} per minute"
        yield LimitReached(f"Rate limit reached: {rule}. Try again in {duration(wait)}.", rule=rule, retry_after=wait)


def _tightest(limits: Iterable[tuple[int | None, float]]) -> Standing | None:
    """Return the limit of a kind with the least left."""
    standings = [Standing(limit, max(0, int(left)), MINUTE * (limit - left) / (limit or 1)) for limit, left in limits if limit is not None]
    return min(standings, key=lambda standing: standing.left, default=None)


def _month(now: float) -> str:
    return _moment(now).strftime("%Y-%m")


def _seconds_to_next_month(now: float) -> float:
    today = _moment(now)
    year, month = divmod(today.year * 12 + today.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC).timestamp() - now


def _moment(now: float) -> datetime:
    return datetime.fromtimestamp(now, tz=UTC)
