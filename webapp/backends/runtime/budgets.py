"""Check budgets: sum the spending of users and groups this month, and refuse requests when it is used up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

from django.db.models import Q, Sum

from webapp.accounts.models import Budget
from webapp.backends.models import Attempt, UsageSum
from webapp.core.caches import SingleFlightCache
from webapp.core.database import in_database
from webapp.patterns.errors import BudgetSpent

FRESH_SECONDS, STALE_SECONDS = 3.0, 2.0


class Spending:
    """Tell whether a user may still spend. Queries the database at most every few seconds per user.

    Args:
        now: wall clock; months are calendar months in UTC.
        monotonic: clock of the cache.
    """

    def __init__(self, now: Callable[[], datetime] = lambda: datetime.now(UTC), monotonic: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._known: SingleFlightCache[int, str] = SingleFlightCache(fresh=FRESH_SECONDS, stale=STALE_SECONDS, clock=monotonic)

    async def check(self, user_id: int) -> None:
        """Check the budgets of a user and of the user's groups.

        Raises:
            BudgetSpent: one of them is used up.
        """
        problem = await self._known.get(user_id, lambda: in_database(self._problem, user_id))
        if problem:
            raise BudgetSpent(problem, retry_after=(self._next_month() - self._now()).total_seconds())

    def lines(self, user_id: int) -> list[str]:
        """Return the user's budgets and their spending as display text."""
        return [f"Of {_whose(budget, 'your', 'the')}, {spent:.4f} is spent." for budget, spent in self._budgets(user_id)]

    def _problem(self, user_id: int) -> str:
        for budget, spent in self._budgets(user_id):
            if budget.monthly is not None and spent >= budget.monthly:
                day = f"{self._next_month():%-d %B}"
                return f"{_whose(budget)} is spent. It starts anew on {day}; a manager or an administrator can raise it."
        return ""

    def _budgets(self, user_id: int) -> Iterator[tuple[Budget, Decimal]]:
        mine = Q(user_id=user_id) | Q(group__user=user_id)
        for budget in Budget.objects.filter(mine, monthly__isnull=False).select_related("user", "group"):
            who = Q(user_id=user_id) if budget.user_id else Q(user__groups=budget.group_id)
            kept = Attempt.objects.filter(who, created_at__gte=self._month(), summed=None)
            added_up = UsageSum.objects.of(UsageSum.Grouping.USER, hourly=False, since=self._month()).filter(who)
            yield budget, sum((rows.aggregate(cost=Sum("cost"))["cost"] or Decimal(0) for rows in (kept, added_up)), Decimal(0))

    def _month(self) -> datetime:
        return self._now().replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    def _next_month(self) -> datetime:
        first = self._month()
        return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)


def _whose(budget: Budget, your: str = "Your", the: str = "The") -> str:
    amount = "" if budget.monthly is None else f" ({budget.monthly.normalize():f})"
    return (f"{your} monthly budget" if budget.group is None else f"{the} monthly budget of the group {budget.group.name}") + amount


spending = Spending()
"""The instance of this process."""
