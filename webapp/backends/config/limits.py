"""Load the limits of users as part of the configuration's snapshot, so that a check needs no query."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db.models import Q

from webapp.accounts.models import Budget


@dataclass(frozen=True, slots=True)
class Limit:
    """The limits of one owner: `requests` and `tokens` per minute, `budget` per month; None for no limit.

    Attributes:
        kind, key: a token, a user, or a group, and its id.
        who: the owner, as the start of a sentence that continues with "may …".
    """

    kind: Literal["token", "user", "group"]
    key: int
    who: str
    requests: int | None = None
    tokens: int | None = None
    budget: Decimal | None = None

    @property
    def line(self) -> str:
        """Return the limits per minute as display text."""
        terms = ((self.requests, "request"), (self.tokens, "token"))
        allowed = " and ".join(f"{number:,} {name}{'' if number == 1 else 's'}" for number, name in terms if number is not None)
        return f"{self.who[0].upper()}{self.who[1:]} may use {allowed} per minute."


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits per minute by user id: the user's own, and those shared with other members of a group."""

    own: Mapping[int, Limit] = field(default_factory=dict)
    shared: Mapping[int, tuple[Limit, ...]] = field(default_factory=dict)

    def of(self, user_id: int) -> tuple[Limit, ...]:
        """Return all limits of a user; the server's default if the user has none of their own."""
        own = self.own.get(user_id)
        if own is None and (settings.REQUESTS_PER_MINUTE or settings.TOKENS_PER_MINUTE):
            own = _own(user_id, None, None)
        limited = own is not None and (own.requests is not None or own.tokens is not None)
        return (*((own,) if own and limited else ()), *self.shared.get(user_id, ()))


def load() -> Limits:
    """Read all limits."""
    own: dict[int, Limit] = {}
    shared: defaultdict[int, tuple[Limit, ...]] = defaultdict(tuple)
    limited = Q(requests_per_minute__isnull=False) | Q(tokens_per_minute__isnull=False)
    for row in Budget.objects.filter(limited).select_related("group").order_by("id"):
        if row.user_id is not None:
            own[row.user_id] = _own(row.user_id, row.requests_per_minute, row.tokens_per_minute)
        elif row.group is not None:
            who = f"all members of {row.group.name} together"
            limit = Limit("group", row.group.pk, who, row.requests_per_minute, row.tokens_per_minute)
            for member in get_user_model().objects.filter(groups=row.group).values_list("pk", flat=True):
                shared[member] += (limit,)
    return Limits(own, dict(shared))


def _own(user_id: int, requests: int | None, tokens: int | None) -> Limit:
    return Limit("user", user_id, "you", requests or settings.REQUESTS_PER_MINUTE or None, tokens or settings.TOKENS_PER_MINUTE or None)
