"""Fixtures that all tests share."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.cast import Cast, make_cast
from tests.live import browser_page, chromium, live, new_live, populated_home, prepared_home

__all__ = ["browser_page", "chromium", "live", "new_live", "populated_home", "prepared_home"]


@pytest.fixture
def cast(db: None) -> Cast:
    """The three people, in a fresh database."""
    return make_cast()


@pytest.fixture
def as_owner(cast: Cast) -> Client:
    """A client signed in as the owner."""
    client = Client()
    client.force_login(cast.owner)
    return client


@pytest.fixture
def as_other(cast: Cast) -> Client:
    """A client signed in as the other user."""
    client = Client()
    client.force_login(cast.other)
    return client


@pytest.fixture
def as_administrator(cast: Cast) -> Client:
    """A client signed in as the administrator."""
    client = Client()
    client.force_login(cast.administrator)
    return client
