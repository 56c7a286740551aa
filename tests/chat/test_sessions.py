"""A socket ends with the sign-in that opened it (FAULTS 58)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth import HASH_SESSION_KEY
from django.test import Client

from chat.selectors import SocketSession, ended_sessions
from tests.users import Users


def session_of(client: Client, user_id: int) -> SocketSession:
    session = client.session
    return SocketSession(user_id, session.session_key or "", session[HASH_SESSION_KEY])


def sign_out(client: Client, _users: Users) -> None:
    client.post("/accounts/logout/")


def change_the_password(_client: Client, users: Users) -> None:
    users.owner.set_password("another correct horse")
    users.owner.save()


def sign_out_elsewhere(_client: Client, users: Users) -> None:
    other = Client()
    other.force_login(users.owner)
    other.post("/accounts/sign-out-everywhere/")


def suspend(_client: Client, users: Users) -> None:
    users.owner.is_active = False
    users.owner.save()


@pytest.mark.parametrize("end", [sign_out, change_the_password, sign_out_elsewhere, suspend])
def test_what_ends_a_sign_in_ends_its_sockets(as_owner: Client, users: Users, end: Callable[[Client, Users], None]) -> None:
    session = session_of(as_owner, users.owner.pk)
    assert ended_sessions([session]) == set()
    end(as_owner, users)
    assert ended_sessions([session]) == {session}


def test_signing_out_everywhere_keeps_the_device_that_asked(as_owner: Client, users: Users) -> None:
    elsewhere = Client()
    elsewhere.force_login(users.owner)
    assert as_owner.post("/accounts/sign-out-everywhere/").status_code == 302
    assert as_owner.get("/accounts/profile/").status_code == 200
    assert elsewhere.get("/accounts/profile/").status_code == 302


def test_a_socket_without_a_session_lives_as_long_as_its_user_is_active(users: Users) -> None:
    assert ended_sessions([SocketSession(users.owner.pk)]) == set()
