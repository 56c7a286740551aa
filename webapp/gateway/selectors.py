"""Read data for the tokens page."""

from __future__ import annotations

from django.db.models import QuerySet

from webapp.accounts.models import User
from webapp.backends.models import ApiToken


def tokens_of(user: User) -> QuerySet[ApiToken]:
    """Return the user's tokens with their remaining limits: active ones first, newest first."""
    return ApiToken.objects.filter(user=user).select_related("allowance").order_by("revoked_at", "-created_at")
