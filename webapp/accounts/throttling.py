"""Determine the address and the remaining lockout of a sign-in. django-axes counts failures by name and address for all processes."""

from __future__ import annotations

import math
from contextlib import suppress
from ipaddress import ip_address
from typing import Any

from axes.helpers import get_client_username
from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max
from django.http import HttpRequest
from django.utils import timezone


def client_address(request: HttpRequest) -> str | None:
    """Return the client's address: behind the proxy, the last one in X-Forwarded-For, which the proxy itself wrote."""
    if settings.BEHIND_PROXY:
        forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
        with suppress(ValueError):  # not an address: use the connection's own
            return str(ip_address(forwarded))
    return request.META.get("REMOTE_ADDR") or None


def minutes_left(request: HttpRequest, credentials: dict[str, Any] | None) -> int:
    """Return the minutes until a locked name can sign in again from this address, at least 1."""
    attempts = AccessAttempt.objects.filter(username=get_client_username(request, credentials), ip_address=client_address(request))
    last = attempts.aggregate(last=Max("attempt_time"))["last"] or timezone.now()
    return max(1, math.ceil((last + settings.AXES_COOLOFF_TIME - timezone.now()).total_seconds() / 60))
