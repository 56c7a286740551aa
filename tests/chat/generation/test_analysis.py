"""The analysis of a conversation."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from chat import services
from chat.generation import analysis
from chat.models import Conversation, Message
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.patterns.openai.backend import OpenAIBackend

FOUND = {"summary": "About tides.", "tags": ["moon"], "confidence": 0.8}


async def test_a_model_is_asked_until_its_analysis_is_one(make_upstream: Callable[..., Upstream]) -> None:
    upstream = make_upstream()
    upstream.script(says(json.dumps(FOUND | {"confidence": 7})), says(json.dumps(FOUND)))
    backend = OpenAIBackend("up", upstream.base_url)
    try:
        assert (await analysis.ask(backend, "user: Why tides?")).model_dump() == FOUND
    finally:
        await backend.aclose()
    assert "Why tides?" in json.dumps(upstream.requests[0].body)


def test_of_a_long_conversation_the_beginning_and_the_end_are_read() -> None:
    turns = [Message(role="user", text="first " + "x" * 100_000), Message(role="assistant", text="y" * 100_000 + " last")]
    text = analysis.transcript(turns)
    assert text.startswith("user: first")
    assert text.endswith(" last")
    assert len(text) < 30_000


@pytest.fixture
def conversation(users: Users) -> Conversation:
    made = Conversation.objects.create(user=users.owner, title="Tides", model="no-such-model", updated_at=timezone.now(), analysis=FOUND)
    services.change_conversation(conversation=made, leaf=Message.objects.create(conversation=made, role="user", text="Why tides?"))
    return made


@pytest.mark.django_db
def test_the_panel_shows_the_last_analysis_and_why_there_is_no_new_one(as_owner: Client, conversation: Conversation) -> None:
    page = as_owner.get(f"/chat/{conversation.id}/analysis/").content.decode()
    assert "About tides." in page
    assert "80 %" in page
    refused = as_owner.post(f"/chat/{conversation.id}/analysis/").content.decode()
    assert 'role="alert"' in refused
    assert "no-such-model" in refused
    assert "About tides." in refused


@pytest.mark.django_db
def test_nobody_analyses_the_conversations_of_others(as_other: Client, conversation: Conversation) -> None:
    """FAULTS 7."""
    assert as_other.get(f"/chat/{conversation.id}/analysis/").status_code == 404
    assert as_other.post(f"/chat/{conversation.id}/analysis/").status_code == 404
