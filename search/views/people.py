"""Identify the user."""

from __future__ import annotations

from django.http import HttpRequest

from webapp.accounts.models import User


def who(request: HttpRequest) -> User:
    """Return the signed-in user. For views behind `login_required`."""
    assert isinstance(request.user, User)
    return request.user
