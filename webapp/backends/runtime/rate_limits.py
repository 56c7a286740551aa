"""Admit requests within the limits of their token, user, and groups, and charge them afterwards.

Without limits this costs no query. With limits it costs a small transaction before and after a request.
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
    """An admitted request, or a refused one with its `refusal`."""

    limits: tuple[Limit, ...] = ()
    taken: Taken = field(default_factory=Taken)

    async def settle(self, trail: AttemptLog, *, since: int = 0) -> None:
        """Count the usage and cost of the request, from its attempts from number `since` on.

        The answer is already sent, so an unreachable database is only logged.
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
    """Count a request of a user if all limits have room.

    Args:
        token: the limits of the request's token.
        spare: the part of each limit, 0 to 1, that must be left for others.
    """
    limits = (await registry.current().snapshot()).limits.of(user_id)
    if token is not None:
        limits = (token, *limits)
    if not limits:
        return _FREE
    return Admission(limits, await in_database(allowances.take, limits, time.time(), spare=spare))


async def admit(user_id: int, *, spare: float = 0.0) -> Admission:
    """Count a request as `ask` does.

    Raises:
        LimitReached: a limit has no room.
    """
    admission = await ask(user_id, spare=spare)
    if admission.taken.refusal:
        raise admission.taken.refusal
    return admission
