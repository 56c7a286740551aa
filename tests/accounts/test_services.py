"""The first administrator and the link that makes one."""

from __future__ import annotations

import stat

import pytest
from django.conf import settings

from tests.users import PASSWORD, Users
from webapp.accounts import services
from webapp.accounts.models import User


def test_the_set_up_link_is_one_for_all_processes_and_private() -> None:
    token = services.setup_token()
    path = settings.PATCHBAY_HOME / services.SETUP_FILE
    assert services.setup_token() == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.django_db
def test_the_first_administrator_spends_the_link() -> None:
    token = services.setup_token()
    user = services.create_first_administrator(username="ada", password=PASSWORD)
    assert user.is_superuser
    assert not services.setup_token_fits(token)


def test_there_is_only_one_first_administrator(users: Users) -> None:
    with pytest.raises(services.AlreadySetUp):
        services.create_first_administrator(username="eve", password=PASSWORD)
    assert not User.objects.filter(username="eve").exists()


def test_a_strange_token_does_not_fit() -> None:
    assert not services.setup_token_fits("\ud800")
    assert not services.setup_token_fits("")


@pytest.mark.django_db
def test_single_sign_on_finds_an_account_by_its_address_however_it_is_written(users: Users) -> None:
    User.objects.filter(pk=users.owner.pk).update(email="Ada@Example.org")
    assert services.account_of(["ada@example.org", "ADA@example.org", ""]) == users.owner
    assert services.account_of(["", "nobody@example.org"]) is None
    User.objects.filter(pk=users.other.pk).update(email="ada@example.org")
    assert services.account_of(["ada@example.org"]) is None  # nobody can say which of the two it is
