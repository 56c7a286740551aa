"""The choice of a model in the chat."""

from __future__ import annotations

import uuid

import pytest
from django.template.loader import render_to_string
from django.test import Client

from chat import services
from chat.models import Conversation
from chat.views.model_picker import grouped
from tests.users import Users
from webapp.backends.runtime.registry import Offered

pytestmark = pytest.mark.django_db
BUILTIN = "builtin/patchbay-builtin"


def chosen(page: str) -> str:
    """Return the value of the selected option of the picker."""
    option = next(option for option in page.split("<option ")[1:] if "selected" in option.split(">")[0])
    return option.split('value="')[1].split('"')[0]


def test_a_new_chat_begins_with_the_model_that_the_user_chose_last(as_owner: Client, as_other: Client) -> None:
    as_owner.post(f"/chat/{uuid.uuid4()}/model/", {"model": BUILTIN})
    assert chosen(as_owner.get("/chat/").content.decode()) == BUILTIN
    assert chosen(as_other.get("/chat/").content.decode()) == "default"


def test_a_choice_outlives_a_reload_and_is_used_for_the_next_answer(as_owner: Client, users: Users) -> None:
    started = services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=users.owner, text="Hi")
    services.finish_generation(generation_id=started.generation.id, parts=[], outcome=services.Outcome(), html="")
    address = f"/chat/{started.conversation.id}/"
    as_owner.post(f"{address}model/", {"model": BUILTIN})
    assert chosen(as_owner.get(address).content.decode()) == BUILTIN
    again = services.regenerate_answer(owner=uuid.uuid4(), message_id=started.answer.id, user=users.owner)
    assert again.model == BUILTIN


def test_the_model_of_another_users_conversation_stays(as_other: Client, users: Users) -> None:
    started = services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=users.owner, text="Hi")
    assert as_other.post(f"/chat/{started.conversation.id}/model/", {"model": BUILTIN}).status_code == 404
    assert Conversation.objects.get().model == "default"


def test_a_model_that_is_gone_is_shown_as_such(as_owner: Client) -> None:
    page = as_owner.get("/chat/?model=old/gone").content.decode()
    assert chosen(page) == "old/gone"
    assert "old/gone (not available)" in page


def test_models_are_grouped_by_route_and_backend() -> None:
    offers = [Offered("default", "route"), Offered("a/x", "model"), Offered("b/y", "model"), Offered("a/z/1", "model")]
    found = {group.name: [offer.name for offer in group.models] for group in grouped(offers)}
    assert found == {"Routes": ["default"], "a": ["a/x", "a/z/1"], "b": ["b/y"]}


def test_the_list_of_models_has_windows_prices_and_states() -> None:
    offers = [Offered("default", "route"), Offered("a/x", "model", window=8192, up=False, prices=(0.15, 0.6))]
    page = " ".join(render_to_string("chat/_model_list.html", {"groups": grouped(offers)}).split())
    assert "window unknown" in page
    assert "down · 8 192 tokens · 0.15 / 0.6 a million" in page
