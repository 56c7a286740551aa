"""Write the gateway's tokens."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.utils import timezone

from webapp.accounts.models import User
from webapp.backends.models import ApiToken, default_scopes, token_digest

TOKEN_PREFIX = "pb-"  # noqa: S105 - a prefix, so that scanners find leaked tokens
TOUCH_EVERY = timedelta(minutes=1)


def create_token(
    *,
    user: User,
    label: str = "",
    scopes: Sequence[str] | None = None,
    expires_at: datetime | None = None,
    requests_per_minute: int | None = None,
    tokens_per_minute: int | None = None,
    monthly_budget: Decimal | None = None,
) -> tuple[ApiToken, str]:
    """Create a token and return it with its plain text, which is shown once and not stored."""
    plaintext = TOKEN_PREFIX + secrets.token_urlsafe(32)
    row = ApiToken.objects.create(
        user=user,
        label=label,
        digest=token_digest(plaintext),
        hint=plaintext[-4:],
        scopes=list(scopes) if scopes is not None else default_scopes(),
        expires_at=expires_at,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        monthly_budget=monthly_budget,
    )
    return row, plaintext


def revoke_token(*, token: ApiToken) -> None:
    """Revoke the token: at once in this process, within 5 s in others."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())


def touch_tokens(*, token_ids: Sequence[int]) -> None:
    """Record that tokens were used, at most once per minute each."""
    now = timezone.now()
    rows = ApiToken.objects.filter(pk__in=token_ids)
    rows.exclude(last_used_at__gt=now - TOUCH_EVERY).update(last_used_at=now)
