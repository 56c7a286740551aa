"""Assistants: a model with settings of its own, chosen like a model."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from chat import assistants, services
from chat.models import Assistant, Conversation
from chat.selectors import NotFound
from tests.chat.test_model_picker import chosen
from tests.users import Users
from webapp.accounts.models import User

pytestmark = pytest.mark.django_db
BUILTIN = "builtin/patchbay-builtin"


def make(user: User, name: str = "Pirate", **fields: Any) -> Assistant:
    settings = {
        "icon": "🏴",
        "model": BUILTIN,
        "system_prompt": "Speak as a pirate.",
        "options": {"temperature": 1.5},
        "starters": ["Ahoy?"],
    }
    return assistants.save_assistant(user=user, assistant=None, name=name, **{"groups": [], **settings, **fields})


def ask(user: User, model: str, conversation_id: uuid.UUID | None = None) -> services.Started:
    """Ask a question, and end its answer."""
    id_ = conversation_id or uuid.uuid4()
    started = services.send_message(owner=uuid.uuid4(), conversation_id=id_, user=user, text="Hi", model=model)
    services.finish_generation(generation_id=started.generation.id, parts=[], outcome=services.Outcome(), html="")
    return started


def test_an_assistant_is_written_changed_and_deleted(as_owner: Client) -> None:
    form = {
        "name": "Tutor",
        "icon": "🎓",
        "model": "default",
        "system_prompt": "Teach.",
        "temperature": "0.2",
        "starters": "One?\n\nTwo?\n",
    }
    assert as_owner.post("/chat/assistants/new/", form)["Location"] == "/chat/assistants/"
    made = Assistant.objects.get()
    assert (str(made), made.starters, made.options["temperature"]) == ("🎓 Tutor", ["One?", "Two?"], 0.2)
    assert "🎓 Tutor" in as_owner.get("/chat/assistants/").content.decode()
    as_owner.post(f"/chat/assistants/{made.id}/", {**form, "name": "Teacher", "shared": "on"})
    made.refresh_from_db()
    assert (made.name, made.shared) == ("Teacher", True)
    as_owner.post(f"/chat/assistants/{made.id}/delete/")
    assert not Assistant.objects.exists()


@pytest.mark.parametrize("wrong", [{"name": ""}, {"name": "Pirate"}, {"starters": "?\n" * 7}, {"model": "no/such"}, {"temperature": "9"}])
def test_a_form_with_a_mistake_is_shown_again(as_owner: Client, users: Users, wrong: dict[str, str]) -> None:
    make(users.owner)
    form = {"name": "New", "model": "default", **wrong}
    page = as_owner.post("/chat/assistants/new/", form)
    assert page.status_code == 200
    assert "errorlist" in page.content.decode()
    assert Assistant.objects.count() == 1


def test_a_new_chat_with_an_assistant_shows_it_and_takes_its_settings(as_owner: Client, users: Users) -> None:
    pirate = make(users.owner)
    page = as_owner.get(f"/chat/?model={pirate.choice}").content.decode()
    assert chosen(page) == pirate.choice
    assert 'data-starter="Ahoy?"' in page
    fresh = f"/chat/{uuid.uuid4()}/settings/"
    assert "Speak as a pirate." in as_owner.get(f"{fresh}?model={pirate.choice}").content.decode()
    conversation = ask(users.owner, pirate.choice).conversation
    conversation.refresh_from_db()
    assert (conversation.assistant, conversation.model) == (pirate, BUILTIN)
    assert (conversation.system_prompt, conversation.options) == ("Speak as a pirate.", {"temperature": 1.5})
    assert chosen(as_owner.get(f"/chat/{conversation.id}/").content.decode()) == pirate.choice


def test_settings_that_the_user_changed_stay_through_the_next_question(users: Users) -> None:
    pirate = make(users.owner)
    conversation = ask(users.owner, pirate.choice).conversation
    services.update_settings(conversation=conversation, system_prompt="Whisper.", options={})
    ask(users.owner, pirate.choice, conversation.id)
    conversation.refresh_from_db()
    assert (conversation.assistant, conversation.system_prompt) == (pirate, "Whisper.")
    ask(users.owner, "default", conversation.id)
    conversation.refresh_from_db()
    assert (conversation.assistant, conversation.system_prompt) == (None, "Whisper.")


def test_choosing_a_model_ends_the_assistant_and_its_settings(as_owner: Client, users: Users) -> None:
    users.owner.system_prompt = "Be brief."
    users.owner.save()
    pirate = make(users.owner)
    conversation = ask(users.owner, "default").conversation
    address = f"/chat/{conversation.id}/model/"
    as_owner.post(address, {"model": pirate.choice})
    conversation.refresh_from_db()
    assert (conversation.assistant, conversation.system_prompt) == (pirate, "Speak as a pirate.")
    as_owner.post(address, {"model": "default"})
    conversation = Conversation.objects.get()
    assert (conversation.choice, conversation.system_prompt, conversation.options) == ("default", "Be brief.", {})


def test_an_assistant_is_for_its_owner_its_groups_and_everyone_if_shared(as_other: Client, users: Users) -> None:
    """FAULTS 7."""
    crew = Group.objects.create(name="crew")
    users.other.groups.add(crew)
    private, grouped, shared = (
        make(users.owner, "Private"),
        make(users.owner, "Grouped", groups=[crew]),
        make(users.owner, "Open", shared=True),
    )
    assert list(assistants.visible(users.other)) == [grouped, shared]
    assert list(assistants.visible(users.administrator)) == [shared]
    for path in (f"/chat/assistants/{grouped.id}/", f"/chat/assistants/{shared.id}/delete/"):
        assert as_other.post(path, {"name": "mine"}).status_code == 404, path
    assert as_other.post(f"/chat/{uuid.uuid4()}/model/", {"model": private.choice}).status_code == 404
    with pytest.raises(NotFound):
        ask(users.other, private.choice)
    users.other.groups.clear()
    assert list(assistants.visible(users.other)) == [shared]


def test_a_chat_keeps_the_settings_of_an_assistant_that_is_gone(as_owner: Client, users: Users) -> None:
    pirate = make(users.owner)
    as_owner.post(f"/chat/{uuid.uuid4()}/model/", {"model": pirate.choice})
    conversation = ask(users.owner, pirate.choice).conversation
    assistants.delete_assistant(assistant=pirate)
    conversation.refresh_from_db()
    assert (conversation.assistant, conversation.model, conversation.system_prompt) == (None, BUILTIN, "Speak as a pirate.")
    assert chosen(as_owner.get("/chat/").content.decode()) == "default"


def test_the_lists_of_models_and_commands_have_the_assistants(as_owner: Client, users: Users) -> None:
    pirate = make(users.owner)
    for path in ("/chat/models/", "/chat/slash/"):
        assert f'data-model="{pirate.choice}"' in as_owner.get(path).content.decode(), path


def test_many_assistants_come_a_part_at_a_time_and_are_searched(as_owner: Client, users: Users) -> None:
    Assistant.objects.bulk_create(Assistant(user=users.owner, name=f"Number {n:03}", model="default") for n in range(130))
    page = as_owner.get("/chat/assistants/").content.decode()
    assert "Number 059" in page
    assert "Number 060" not in page
    last = Assistant.objects.get(name="Number 059")
    part = as_owner.get(f"/chat/assistants/?after={last.id}", headers={"HX-Request": "true"}).content.decode()
    assert "Number 060" in part
    assert "<html" not in part
    assert "Number 121" in as_owner.get("/chat/assistants/?q=r+121").content.decode()
    assert "No assistant has" in as_owner.get("/chat/assistants/?q=nothing").content.decode()
    assert as_owner.get("/chat/assistants/?after=x").status_code == 404
