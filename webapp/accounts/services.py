"""Writes about people: the first administrator, and the link that makes one."""

from __future__ import annotations

import secrets

from django.db import transaction
from django.utils.crypto import constant_time_compare

from webapp import env
from webapp.accounts.models import User

SETUP_FILE = "setup_token"


class AlreadySetUp(Exception):
    """There is a user already: the set-up link is spent."""


def setup_token() -> str:
    """The one-time token of the set-up link, made on first use."""
    return env.kept_secret(SETUP_FILE, secrets.token_urlsafe(24))


def setup_token_fits(candidate: str) -> bool:
    """Whether `candidate` is the token of the set-up link."""
    return constant_time_compare(candidate.encode(errors="replace"), setup_token().encode())


@transaction.atomic
def create_first_administrator(*, username: str, password: str, email: str = "") -> User:
    """The first user, who may do everything; raises `AlreadySetUp` when there is any user. Spends the set-up link."""
    if User.objects.select_for_update().exists():
        raise AlreadySetUp("Patchbay is set up already: sign in")
    user = User.objects.create_superuser(username=username, password=password, email=email)
    (env.home() / SETUP_FILE).unlink(missing_ok=True)
    return user
