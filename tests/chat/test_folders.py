"""Folders of the sidebar."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.test import Client
from django.utils import timezone

from chat import sidebar
from chat.models import Conversation
from tests.users import Users

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation(users: Users) -> Conversation:
    return Conversation.objects.create(user=users.owner, title="Tides", updated_at=timezone.now())


def test_a_folder_is_made_renamed_and_deleted_and_its_conversations_stay(as_owner: Client, conversation: Conversation) -> None:
    """FAULTS 5: names are text."""
    as_owner.post(f"/chat/{conversation.id}/move/", {"folder": " <b>Sea </b> "})
    page = as_owner.get(f"/chat/{conversation.id}/").content.decode()
    assert "&lt;b&gt;Sea &lt;/b&gt;</h2>" in page
    as_owner.post("/chat/folders/rename/", {"folder": "<b>Sea </b>", "name": "Ocean"})
    conversation.refresh_from_db()
    assert conversation.folder == "Ocean"
    as_owner.post("/chat/folders/delete/", {"folder": "Ocean"})
    conversation.refresh_from_db()
    assert conversation.folder == ""


def test_nobody_touches_the_folders_of_others(as_other: Client, conversation: Conversation) -> None:
    """FAULTS 7."""
    Conversation.objects.update(folder="Sea")
    assert as_other.post(f"/chat/{conversation.id}/move/", {"folder": "x"}).status_code == 404
    as_other.post("/chat/folders/rename/", {"folder": "Sea", "name": "x"})
    as_other.post("/chat/folders/delete/", {"folder": "Sea"})
    conversation.refresh_from_db()
    assert conversation.folder == "Sea"


def test_a_folder_named_like_an_age_is_a_folder_and_pinned_comes_first(users: Users) -> None:
    for title, more in (("a", {}), ("b", {"folder": "Today"}), ("c", {"folder": "Today", "pinned": True})):
        Conversation.objects.create(user=users.owner, title=title, updated_at=timezone.now(), **more)
    groups = sidebar.first(users.owner).groups
    assert [(group.name, group.folder) for group in groups] == [("Pinned", False), ("Today", True), ("Today", False)]


def test_an_old_conversation_in_a_folder_stays_in_the_sidebar(as_owner: Client, conversation: Conversation) -> None:
    old = timezone.now() - timedelta(days=900)
    Conversation.objects.update(folder="Sea", updated_at=old)
    Conversation.objects.bulk_create(Conversation(user=conversation.user, title=f"n{n}", updated_at=timezone.now()) for n in range(70))
    page = as_owner.get("/chat/").content.decode()
    assert f'href="/chat/{conversation.id}/"' in page
    assert len(re.findall(r'<li id="c-', page)) == 61
