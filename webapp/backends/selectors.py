"""Read the configuration."""

from __future__ import annotations

from django.db.models import Q, QuerySet
from django.utils import timezone

from webapp.backends.models import ApiToken, Backend, Offer, token_digest


def token_by_plaintext(plaintext: str) -> ApiToken | None:
    """Return a valid token with its user: not revoked, not expired, and its user not suspended."""
    usable = Q(revoked_at=None, user__is_active=True) & (Q(expires_at=None) | Q(expires_at__gt=timezone.now()))
    return ApiToken.objects.select_related("user").filter(usable, digest=token_digest(plaintext)).first()


def backends_with_health() -> QuerySet[Backend]:
    """Return all backends in their order, with models and health."""
    return Backend.objects.select_related("health").prefetch_related("offered")


def open_offers() -> QuerySet[Offer]:
    """Return found servers that no administrator has accepted or dismissed."""
    return Offer.objects.filter(state=Offer.State.OPEN)
