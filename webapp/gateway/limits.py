"""Requests and tokens a minute, and the month's budget, of one token: shared by all processes through the database.

A token without limits costs no query. One with limits costs a small transaction before a request and one after it.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from decimal import Decimal

from channels.db import database_sync_to_async
from django.db import DatabaseError, transaction

from webapp.backends.api_registry import ApiError
from webapp.gateway.auth import Principal
from webapp.gateway.errors import rate_limited
from webapp.gateway.models import Allowance
from webapp.patterns.types import Trail

logger = logging.getLogger("patchbay.gateway")
MINUTE = 60.0


async def admit(principal: Principal) -> dict[str, str]:
    """Count a request; raises a 429 where a limit is used up. Returns headers that say what is left, as OpenAI names them."""
    if not principal.limited:
        return {}
    headers: dict[str, str] = await database_sync_to_async(take_request)(principal, time.time())
    return headers


async def settle(principal: Principal, trail: Trail) -> None:
    """Count what the attempts of a request used and cost. The answer is out by then: a database that is away is told to the log."""
    used, cost = trail.usage.total_tokens, trail.cost
    if not principal.limited or not (used or cost):
        return
    try:
        await database_sync_to_async(take_tokens)(principal, time.time(), used, cost or 0.0)
    except DatabaseError:
        logger.exception("%d tokens of token %s could not be counted", used, principal.token_id)


@transaction.atomic
def take_request(principal: Principal, now: float) -> dict[str, str]:
    """Take one request out of the allowance, at `now` seconds since the epoch."""
    row = _refilled(principal, now)
    problem = _problem(row, principal, now)
    if problem is None:
        row.requests_left -= 1
    row.save()
    if problem:
        raise problem
    return _headers(row, principal)


@transaction.atomic
def take_tokens(principal: Principal, now: float, used: int, cost: float) -> None:
    """Take tokens and money out of the allowance."""
    row = _refilled(principal, now)
    row.tokens_left -= used
    row.spent += Decimal(str(cost))
    row.save()


def _refilled(principal: Principal, now: float) -> Allowance:
    """The token's row, locked, with what has flowed back since it was last looked at."""
    requests, tokens = float(principal.requests_per_minute or 0), float(principal.tokens_per_minute or 0)
    month = _moment(now).strftime("%Y-%m")
    row, _created = Allowance.objects.select_for_update().get_or_create(
        token_id=principal.token_id,
        defaults={"requests_left": requests, "tokens_left": tokens, "refilled_at": now, "month": month},
    )
    minutes = max(0.0, now - row.refilled_at) / MINUTE
    row.requests_left = min(requests, row.requests_left + minutes * requests)
    row.tokens_left = min(tokens, row.tokens_left + minutes * tokens)
    row.refilled_at = max(now, row.refilled_at)
    if row.month != month:
        row.month, row.spent = month, Decimal(0)
    return row


def _problem(row: Allowance, principal: Principal, now: float) -> ApiError | None:
    """Why no request may be made now."""
    if principal.monthly_budget is not None and row.spent >= principal.monthly_budget:
        error = rate_limited(
            f"This token's budget of {principal.monthly_budget.normalize():f} for the month is spent.",
            retry_after=_seconds_to_next_month(now),
            code="insufficient_quota",
        )
        error.headers["x-should-retry"] = "false"
        return error
    if principal.requests_per_minute is not None and row.requests_left < 1:
        wait = _wait(1 - row.requests_left, principal.requests_per_minute)
        return rate_limited(f"Rate limit reached: {principal.requests_per_minute} requests per minute.", retry_after=wait)
    if principal.tokens_per_minute is not None and row.tokens_left <= 0:
        wait = _wait(1 - row.tokens_left, principal.tokens_per_minute)
        return rate_limited(f"Rate limit reached: {principal.tokens_per_minute} tokens per minute.", retry_after=wait)
    return None


def _wait(missing: float, per_minute: int) -> float:
    """Seconds until `missing` has flowed back; a limit of 0 never does: a day."""
    return missing / per_minute * MINUTE if per_minute else 24 * 3600.0


def _seconds_to_next_month(now: float) -> float:
    today = _moment(now)
    year, month = divmod(today.year * 12 + today.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC).timestamp() - now


def _moment(now: float) -> datetime:
    return datetime.fromtimestamp(now, tz=UTC)


def _headers(row: Allowance, principal: Principal) -> dict[str, str]:
    limits = (("requests", principal.requests_per_minute, row.requests_left), ("tokens", principal.tokens_per_minute, row.tokens_left))
    headers: dict[str, str] = {}
    for name, limit, left in limits:
        if limit is not None:
            headers[f"x-ratelimit-limit-{name}"] = str(limit)
            headers[f"x-ratelimit-remaining-{name}"] = str(max(0, int(left)))
    return headers
