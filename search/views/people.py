"""Who asks."""

from __future__ import annotations

from django.http import HttpRequest

from webapp.accounts.models import User


def who(request: HttpRequest) -> User:
    """The signed-in user; for views behind `login_required`."""
    assert isinstance(request.user, User)
    return request.user
