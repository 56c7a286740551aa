"""Tokens of the gateway."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from tests.users import Users
from webapp.backends import selectors, services


def test_a_token_is_kept_as_its_hash_only(users: Users) -> None:
    row, plaintext = services.create_token(user=users.owner, label="laptop")
    assert plaintext.startswith("pb-")
    assert row.hint == plaintext[-4:]
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM backends_apitoken")
        assert plaintext not in str(cursor.fetchall())
    found = selectors.token_by_plaintext(plaintext)
    assert found is not None
    assert found.user == users.owner


@pytest.mark.parametrize("text", ["", "pb-", "' OR 1=1--", "\0", "pb-" + "x" * 1_000_000, "\ud800"])
def test_what_is_no_token_is_nobodys(users: Users, text: str) -> None:
    """FAULTS 16."""
    services.create_token(user=users.owner)
    assert selectors.token_by_plaintext(text) is None


def test_a_revoked_or_expired_token_and_a_suspended_users_are_refused(users: Users) -> None:
    """FAULTS 9."""
    revoked, one = services.create_token(user=users.owner)
    services.revoke_token(token=revoked)
    _, two = services.create_token(user=users.owner, expires_at=timezone.now() - timedelta(seconds=1))
    _, three = services.create_token(user=users.other)
    users.other.is_active = False
    users.other.save()
    assert [selectors.token_by_plaintext(text) for text in (one, two, three)] == [None, None, None]


def test_use_is_noted_once_a_minute(users: Users) -> None:
    row, _ = services.create_token(user=users.owner)
    services.touch_tokens(token_ids=[row.pk])
    row.refresh_from_db()
    first = row.last_used_at
    assert first is not None
    services.touch_tokens(token_ids=[row.pk])
    row.refresh_from_db()
    assert row.last_used_at == first


def test_the_command_prints_the_token_alone(users: Users) -> None:
    out = StringIO()
    call_command("create_token", user="owner", label="ci", stdout=out)
    found = selectors.token_by_plaintext(out.getvalue().strip())
    assert found is not None
    assert found.label == "ci"


def test_the_command_refuses_a_stranger(users: Users) -> None:
    with pytest.raises(CommandError, match="no user 'nobody'"):
        call_command("create_token", user="nobody")
