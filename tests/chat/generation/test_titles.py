"""A model names a conversation after its first answer."""

from __future__ import annotations

import json
import uuid

import pytest

from chat import services
from chat.generation import titles
from chat.models import Conversation, Message
from tests.upstream import Upstream, says
from tests.users import Users
from webapp.backends.models import Attempt
from webapp.backends.runtime import registry
from webapp.core.database import in_database

pytestmark = pytest.mark.django_db(transaction=True)


def answered(users: Users, backend: str = "up") -> Message:
    """The first answer of a conversation, as `backend` gave it."""
    started = services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=users.owner, text="Why tides?", model="up/small")
    outcome = services.Outcome(trail=[{"outcome": "ok", "backend": backend}])
    kept = services.finish_generation(
        generation_id=started.generation.id, parts=[{"kind": "text", "text": "The moon."}], outcome=outcome, html=""
    )
    assert kept
    return kept


async def test_the_title_is_the_models_and_what_it_cost_is_recorded(users: Users, up: Upstream) -> None:
    up.script(says(json.dumps({"title": "Why there are tides"})))
    answer = await in_database(answered, users)
    assert await titles.generate_title(answer) == "Why there are tides"
    await registry.flush()
    attempt = await Attempt.objects.aget()
    assert (attempt.source, attempt.user_id, attempt.model) == ("chat", users.owner.pk, "small")


async def test_a_name_that_the_user_gave_stays(users: Users, up: Upstream) -> None:
    answer = await in_database(answered, users)
    await in_database(services.set_title, conversation_id=answer.conversation_id, title="Mine")
    assert not await titles.generate_title(answer)
    assert up.requests == []


async def test_the_built_in_model_is_not_asked_for_titles(users: Users, up: Upstream) -> None:
    assert not await titles.generate_title(await in_database(answered, users, titles.BUILTIN))
    assert up.requests == []


async def test_without_a_title_the_first_words_stay(users: Users, up: Upstream) -> None:
    up.default = says("not JSON")
    assert not await titles.generate_title(await in_database(answered, users))
    assert (await Conversation.objects.aget()).title == "Why tides?"
