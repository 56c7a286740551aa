"""Apply the limits of a token, its user, and the user's groups, and report them in OpenAI's headers."""

from __future__ import annotations

import math

from webapp.backends.config.limits import Limit
from webapp.backends.models import ApiToken
from webapp.backends.runtime import rate_limits, registry
from webapp.backends.runtime.allowances import Standing
from webapp.backends.runtime.rate_limits import Admission
from webapp.core.database import in_database
from webapp.gateway.auth import Principal, token_limit
from webapp.gateway.http import Call


async def admit(call: Call, principal: Principal) -> Admission:
    """Count a request, and put the remaining limits into the answer's headers.

    Raises:
        LimitReached, BudgetSpent: the request is refused.
    """
    asked = await rate_limits.ask(principal.user.pk, token=principal.limit)
    for name, standing in (("requests", asked.taken.requests), ("tokens", asked.taken.tokens)):
        if standing:
            call.extra_headers.update(headers(name, standing))
    if asked.taken.refusal:
        raise asked.taken.refusal
    return asked


def headers(name: str, standing: Standing) -> dict[str, str]:
    """Return OpenAI's three headers of a limit."""
    return {
        f"x-ratelimit-limit-{name}": str(standing.limit),
        f"x-ratelimit-remaining-{name}": str(standing.left),
        f"x-ratelimit-reset-{name}": reset(standing.reset),
    }


def reset(seconds: float) -> str:
    """Format seconds as OpenAI does: 250ms, 12s, 6m0s."""
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"


async def limits_of(user_id: int, token_id: int | None) -> tuple[Limit, ...]:
    """Return the limits that apply to a user's token, for a request that was admitted before."""
    known = (await registry.current().snapshot()).limits.of(user_id)
    token = await in_database(_token_limit, token_id) if token_id is not None else None
    return known if token is None else (token, *known)


def _token_limit(token_id: int) -> Limit | None:
    token = ApiToken.objects.filter(pk=token_id).first()
    return None if token is None else token_limit(token)
