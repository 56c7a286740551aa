"""The command palette's list."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import timezone

from chat.models import Conversation
from tests.users import Users

pytestmark = pytest.mark.django_db


def test_the_palette_has_places_actions_and_ones_own_conversations_escaped(as_owner: Client, as_other: Client, users: Users) -> None:
    """FAULTS 5, 7."""
    mine = Conversation.objects.create(user=users.owner, title="<b>Tides</b>", updated_at=timezone.now())
    page = as_owner.get("/chat/palette/").content.decode()
    assert f'href="/chat/{mine.id}/"' in page
    assert "&lt;b&gt;Tides" in page
    assert 'href="/batches/"' in page
    assert 'data-run="#shortcuts"' in page
    assert "Tides" not in as_other.get("/chat/palette/").content.decode()


def test_every_page_of_a_user_has_the_palette_and_the_login_page_has_not(as_owner: Client, client: Client) -> None:
    assert 'id="palette"' in as_owner.get("/accounts/profile/").content.decode()
    assert 'id="palette"' not in client.get("/accounts/login/").content.decode()
