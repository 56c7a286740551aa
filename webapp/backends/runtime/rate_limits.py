"""Asking for a request within the limits of its token, its user and the user's groups, and paying for it afterwards.

Where there is no limit this costs no query; where there is one, a small transaction before a request and one after it.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import Final

from django.db import Error

from webapp.backends.config.limits import Limit
from webapp.backends.runtime import allowances, registry
from webapp.backends.runtime.allowances import Taken
from webapp.core.database import in_database
from webapp.patterns.types import AttemptLog

logger = logging.getLogger("patchbay.backends")


@dataclass(frozen=True, slots=True)
class Admission:
    """A request that was let in or, with a `refusal`, was not."""

    limits: tuple[Limit, ...] = ()
    taken: Taken = field(default_factory=Taken)

    async def settle(self, trail: AttemptLog, *, since: int = 0) -> None:
        """Count what the request used and cost, by its attempts from number `since` on.

        Its answer is out by then: a database that is away is told to the log.
        """
        if not self.limits:
            return
        tokens = sum(attempt.usage.total_tokens for attempt in trail.attempts[since:])
        cost = sum(attempt.cost or 0.0 for attempt in trail.attempts[since:])
        if not (tokens or cost):
            return
        try:
            await in_database(allowances.charge, self.limits, time.time(), tokens=tokens, cost=cost)
        except Error:
            owners = ", ".join(f"{limit.kind} {limit.key}" for limit in self.limits)
            logger.exception("%d tokens of %s could not be counted", tokens, owners)


_FREE: Final = Admission()


async def ask(user_id: int, *, token: Limit | None = None, spare: float = 0.0) -> Admission:
    """Count a request of a user, where all limits have room for it.

    Args:
        token: the limits of the token that the request came with.
        spare: the part of each limit, 0 to 1, that must be left for others.
    """
    limits = (await registry.current().snapshot()).limits.of(user_id)
    if token is not None:
        limits = (token, *limits)
    if not limits:
        return _FREE
    return Admission(limits, await in_database(allowances.take, limits, time.time(), spare=spare))


async def admit(user_id: int, *, spare: float = 0.0) -> Admission:
    """The same; raises the refusal: `LimitReached`."""
    admission = await ask(user_id, spare=spare)
    if admission.taken.refusal:
        raise admission.taken.refusal
    return admission
