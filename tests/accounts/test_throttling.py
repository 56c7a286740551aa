"""Guessing is throttled by address, too, and pages of signed-in users are not cached."""

from __future__ import annotations

import pytest
from django.conf import LazySettings
from django.test import Client

from tests.users import PASSWORD, Users


def test_one_address_that_tries_many_names_is_locked_out(users: Users, settings: LazySettings) -> None:
    settings.ADDRESS_FAILURE_LIMIT = 5
    client = Client()
    for number in range(5):
        assert client.post("/accounts/login/", {"username": f"name{number}", "password": "x"}).status_code == 400
    locked = client.post("/accounts/login/", {"username": "owner", "password": PASSWORD})
    assert (locked.status_code, locked.headers["Retry-After"]) == (429, "600")
    elsewhere = Client(REMOTE_ADDR="192.0.2.7")
    assert elsewhere.post("/accounts/login/", {"username": "owner", "password": PASSWORD}).status_code == 302


@pytest.mark.parametrize("path", ["/chat/", "/batches/", "/search/", "/usage/", "/accounts/profile/"])
def test_pages_of_signed_in_users_are_not_stored(as_owner: Client, path: str) -> None:
    assert "no-store" in as_owner.get(path).headers["Cache-Control"]
