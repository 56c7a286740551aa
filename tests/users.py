"""The roles all tests use: an owner, another user, an administrator."""

from __future__ import annotations

from dataclasses import dataclass

from webapp.accounts.models import User

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Users:
    """Three people. The owner owns what a test makes; the other must not see it; the administrator configures."""

    owner: User
    other: User
    administrator: User


def make_users() -> Users:
    return Users(
        owner=User.objects.create_user("owner", password=PASSWORD),
        other=User.objects.create_user("other", password=PASSWORD),
        administrator=User.objects.create_superuser("administrator", password=PASSWORD),
    )
