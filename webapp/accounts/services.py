"""Writes about people: the first administrator, and the link that makes one."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import F
from django.utils.crypto import constant_time_compare

from webapp.accounts.models import User
from webapp.core import env

SETUP_FILE = "setup_token"


class AlreadySetUp(Exception):
    """There is a user already: the set-up link is spent."""


class LastAdministrator(Exception):
    """Without this administrator nobody could give roles any more."""

    def __init__(self, user: User) -> None:
        super().__init__(f"{user.username} is the last administrator: make another one first.")


def is_last_administrator(user: User) -> bool:
    """Whether nobody else may do everything."""
    administrators = User.objects.filter(is_superuser=True, is_active=True)
    return administrators.filter(pk=user.pk).exists() and not administrators.exclude(pk=user.pk).exists()


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


MANAGERS = "Managers"
MANAGED_APPS = ("backends",)
ROLES = ("user", "manager", "administrator")


def account_of(addresses: Iterable[str]) -> User | None:
    """The one account with one of these email addresses; None where there is none, or nobody can say which of several it is."""
    found = {user.pk: user for address in addresses if address for user in User.objects.filter(email__iexact=address)[:2]}
    return next(iter(found.values())) if len(found) == 1 else None


def seed_roles() -> Group:
    """The group of managers with what they may do, made where there is none; administrators may change it afterwards."""
    group, created = Group.objects.get_or_create(name=MANAGERS)
    if created:
        budgets = Permission.objects.filter(content_type__app_label="accounts", content_type__model="budget")
        seeing_users = Permission.objects.filter(content_type__app_label="accounts", codename="view_user")
        backends = Permission.objects.filter(content_type__app_label__in=MANAGED_APPS)
        group.permissions.set([*budgets, *seeing_users, *backends])
    return group


@transaction.atomic
def set_role(*, user: User, role: str) -> None:
    """Make `user` a user, a manager or an administrator. Raises `LastAdministrator` where that would leave none."""
    if role not in ROLES:
        raise ValueError(f"{role!r} is no role: one of {', '.join(ROLES)}")
    if role != "administrator" and is_last_administrator(user):
        raise LastAdministrator(user)
    user.is_superuser = role == "administrator"
    user.is_staff = role != "user"
    user.save(update_fields=["is_superuser", "is_staff"])
    managers = seed_roles()
    if role == "manager":
        user.groups.add(managers)
    else:
        user.groups.remove(managers)


def end_sessions(*, user: User) -> None:
    """End every session of a user: pages within one request, open sockets within 5 s."""
    User.objects.filter(pk=user.pk).update(session_version=F("session_version") + 1)
    user.refresh_from_db(fields=["session_version"])
