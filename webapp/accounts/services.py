"""Create the first administrator and set roles."""

from __future__ import annotations

import secrets
from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.db import transaction
from django.db.models import F
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext as _

from webapp.accounts.models import User
from webapp.core import env

SETUP_FILE = "setup_token"


class AlreadySetUp(Exception):
    """Report that a user already exists, so the setup link is used up."""


class LastAdministrator(Exception):
    """Report that this is the last administrator, without whom no user could change roles."""

    def __init__(self, user: User) -> None:
        super().__init__(_("%(name)s is the last administrator: make another user an administrator first.") % {"name": user.username})


def is_last_administrator(user: User) -> bool:
    """Return whether `user` is the only active administrator."""
    administrators = User.objects.filter(is_superuser=True, is_active=True)
    return administrators.filter(pk=user.pk).exists() and not administrators.exclude(pk=user.pk).exists()


def setup_token() -> str:
    """Return the one-time token of the setup link, created on first use."""
    return env.kept_secret(SETUP_FILE, secrets.token_urlsafe(24))


def setup_token_fits(candidate: str) -> bool:
    """Return whether `candidate` is the token of the setup link."""
    return constant_time_compare(candidate.encode(errors="replace"), setup_token().encode())


@transaction.atomic
def create_first_administrator(*, username: str, password: str, email: str = "") -> User:
    """Create and return the first administrator, and delete the setup link.

    Raises:
        AlreadySetUp: a user exists.
    """
    if User.objects.select_for_update().exists():
        raise AlreadySetUp("Patchbay is set up already: sign in")
    user = User.objects.create_superuser(username=username, password=password, email=email)
    (env.home() / SETUP_FILE).unlink(missing_ok=True)
    return user


MANAGERS = "Managers"
MANAGED_APPS = ("backends",)
ROLES = ("user", "manager", "administrator")


def account_of(addresses: Iterable[str]) -> User | None:
    """Return the only account with one of these email addresses; None if there is none or more than one."""
    found = {user.pk: user for address in addresses if address for user in User.objects.filter(email__iexact=address)[:2]}
    return next(iter(found.values())) if len(found) == 1 else None


def seed_roles() -> Group:
    """Return the group of managers, created with its permissions if missing. Administrators may change it afterwards."""
    group, created = Group.objects.get_or_create(name=MANAGERS)
    if created:
        budgets = Permission.objects.filter(content_type__app_label="accounts", content_type__model="budget")
        seeing_users = Permission.objects.filter(content_type__app_label="accounts", codename="view_user")
        backends = Permission.objects.filter(content_type__app_label__in=MANAGED_APPS)
        group.permissions.set([*budgets, *seeing_users, *backends])
    return group


@transaction.atomic
def set_role(*, user: User, role: str) -> None:
    """Make `user` a user, a manager, or an administrator.

    Raises:
        LastAdministrator: no administrator would be left.
        ValueError: unknown role.
    """
    if role not in ROLES:
        raise ValueError(f"{role!r} is not a role: use one of {', '.join(ROLES)}")
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


def choose_language(*, user: User, language: str) -> None:
    """Set the language of a user's interface; empty for the browser's."""
    user.language = language
    user.save(update_fields=["language"])


def end_sessions(*, user: User) -> None:
    """End every session of a user: pages within one request, open sockets within 5 s."""
    User.objects.filter(pk=user.pk).update(session_version=F("session_version") + 1)
    user.refresh_from_db(fields=["session_version"])
