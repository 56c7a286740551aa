"""Pages are compressed for those who can read that."""

from __future__ import annotations

import gzip

import pytest
from django.test import AsyncClient, Client

from tests.users import Users

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_page_is_a_fraction_of_its_size(as_owner: Client) -> None:
    plain = as_owner.get("/chat/")
    assert "Content-Encoding" not in plain
    packed = as_owner.get("/chat/", headers={"accept-encoding": "gzip, br"})
    assert packed["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed["Vary"]
    assert len(packed.content) < len(plain.content) / 2
    assert b"chat-input" in gzip.decompress(packed.content)


async def test_it_is_so_under_asgi(users: Users) -> None:
    packed = await AsyncClient().get("/accounts/login/", headers={"accept-encoding": "gzip"})
    assert packed["Content-Encoding"] == "gzip"


def test_downloads_keep_their_length(as_owner: Client) -> None:
    """Responses that are not pages are not compressed."""
    answer = as_owner.get("/manifest.webmanifest", headers={"accept-encoding": "gzip"})
    assert answer.status_code == 200
    assert "Content-Encoding" not in answer
