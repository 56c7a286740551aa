"""Write usage as CSV: by day, person, route, backend, model, and source, with a line of totals; or by token, from the attempt log."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, Sum
from django.db.models.functions import TruncDay

from webapp.accounts.models import User
from webapp.backends.models import ApiToken, Attempt
from webapp.backends.reporting import usage, usage_table

DIMENSIONS = ("start", "user", "route", "backend", "model", "source")
COUNTS = ("requests", "attempts", "failed", "prompt_tokens", "completion_tokens", "estimated_tokens")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def by_combination(filters: usage.Filters, *, viewer: User) -> Iterator[str]:
    """Yield lines of CSV: the usage of all users for staff, otherwise the viewer's own, then the totals."""
    table = usage.read_combinations(filters, viewer=viewer)
    names = dict(User.objects.filter(pk__in={*table.values["user"]} - {None}).values_list("pk", "username"))
    labels = [[names.get(pk, "") for pk in table.labels(name)] if name == "user" else table.labels(name) for name in DIMENSIONS]
    counts = [table.column(name).tolist() for name in (*COUNTS, "cost", "priced")]
    yield line(["hour" if filters.hourly else "day", *DIMENSIONS[1:], *COUNTS, "cost"])
    for start, *rest, cost, priced in sorted(zip(*labels, *counts, strict=True)):
        when = start.strftime("%Y-%m-%d %H:%M" if filters.hourly else "%Y-%m-%d")
        yield line([when, *rest, usage_table.cost_of(cost, priced)])
    totals = [sum(column) for column in counts]
    yield line(["total", *[""] * (len(DIMENSIONS) - 1), *totals[:-2], usage_table.cost_of(totals[-2], totals[-1])])


def by_token(filters: usage.Filters, *, viewer: User) -> Iterator[str]:
    """Yield lines of CSV: the usage of API tokens by day, from the attempts that the log still keeps, then the totals."""
    attempts = Attempt.objects.filter(created_at__gte=filters.since, token__isnull=False, **filters.columns).exclude(outcome="skipped")
    wanted = filters.values.get("user")
    if wanted:
        attempts = attempts.filter(user__username=wanted)
    if not viewer.is_staff:
        attempts = attempts.filter(user=viewer)
    sums: dict[str, Any] = {
        "attempts": Count("id"),
        "failed": Count("id", filter=Q(outcome="failed")),
        "prompts": Sum("prompt_tokens"),
        "completions": Sum("completion_tokens"),
        "costs": Sum("cost"),
    }
    rows = (
        attempts.order_by().annotate(day=TruncDay("created_at")).values_list("day", "token_id").annotate(**sums).order_by("day", "token_id")
    )
    found = list(rows)
    tokens = ApiToken.objects.select_related("user").in_bulk({token for _day, token, *_rest in found})
    yield line(["day", "user", "token", "attempts", "failed", "prompt_tokens", "completion_tokens", "cost"])
    for day, token, *counts, cost in found:
        yield line([f"{day:%Y-%m-%d}", tokens[token].user.username, str(tokens[token]), *counts, cost])
    costs = [row[-1] for row in found if row[-1] is not None]
    totals = [sum(row[column] for row in found) for column in range(2, 6)]
    yield line(["total", "", "", *totals, sum(costs, Decimal(0)) if costs else None])


def line(values: list[Any]) -> str:
    """Return a line of CSV. A cell that a spreadsheet would run as a formula gets an apostrophe."""
    buffer = io.StringIO()
    csv.writer(buffer).writerow([f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value for value in values])
    return buffer.getvalue()
