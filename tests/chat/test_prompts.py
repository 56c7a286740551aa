"""The prompt library."""

from __future__ import annotations

import uuid

import pytest
from django.test import Client

from chat import prompts, services
from chat.models import Message, Prompt
from tests.users import Users


def test_variables_are_found_once_in_their_order() -> None:
    assert prompts.variables("{{b}} {{ a }} {{b}} {{}} {c} {{ two words }}") == ["b", "a", "two words"]


def test_a_value_that_looks_like_a_variable_stays_text() -> None:
    assert prompts.filled("{{a}} and {{ b }} and {{c}}", {"a": "{{b}}", "b": r"\1"}) == r"{{b}} and \1 and {{c}}"


@pytest.mark.django_db
def test_a_prompt_is_written_changed_used_and_deleted(as_owner: Client) -> None:
    form = {"name": "greet", "text": "Greet {{who}} in <b>{{language}}</b>."}
    assert as_owner.post("/chat/prompts/", form).status_code == 302
    prompt = Prompt.objects.get()
    use = f"/chat/prompts/{prompt.id}/use/"
    assert b'name="v1"' in as_owner.get(use).content
    assert b"Greet Ada in &lt;b&gt;Welsh&lt;/b&gt;." in as_owner.post(use, {"v0": "Ada", "v1": "Welsh"}).content
    as_owner.post(f"/chat/prompts/{prompt.id}/", {"name": "greet", "text": "Plain."})
    assert b"data-compose" in as_owner.get(use).content
    assert b'data-words="/greet"' in as_owner.get("/chat/slash/").content
    as_owner.post(f"/chat/prompts/{prompt.id}/delete/")
    assert not Prompt.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["new", "With Capitals", "a/b", "", "-x", "taken"])
def test_names_that_cannot_be_typed_or_are_taken_are_refused(as_owner: Client, users: Users, name: str) -> None:
    services.save_prompt(user=users.owner, prompt=None, name="taken", text="x", shared=False)
    assert as_owner.post("/chat/prompts/", {"name": name, "text": "x"}).status_code == 200
    assert Prompt.objects.count() == 1


@pytest.mark.django_db
def test_others_see_shared_prompts_only_and_change_none(as_other: Client, users: Users) -> None:
    """FAULTS 7."""
    own = services.save_prompt(user=users.owner, prompt=None, name="own", text="private", shared=False)
    shared = services.save_prompt(user=users.owner, prompt=None, name="all", text="for everybody", shared=True)
    page = as_other.get("/chat/prompts/").content.decode()
    assert "for everybody" in page
    assert "private" not in page
    assert as_other.get(f"/chat/prompts/{own.id}/use/").status_code == 404
    assert as_other.get(f"/chat/prompts/{shared.id}/use/").status_code == 200
    for path in (f"/chat/prompts/{shared.id}/", f"/chat/prompts/{shared.id}/delete/"):
        assert as_other.post(path, {"name": "mine", "text": "x"}).status_code == 404


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["/new", " /stop\n", "/greet"])
def test_a_command_that_was_sent_before_its_list_had_come_is_no_question(users: Users, text: str) -> None:
    services.save_prompt(user=users.owner, prompt=None, name="greet", text="x", shared=False)
    with pytest.raises(services.Refused, match="is a command"):
        services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=users.owner, text=text)
    assert not Message.objects.exists()


@pytest.mark.django_db
def test_what_only_begins_like_a_command_is_a_question(users: Users) -> None:
    services.save_prompt(user=users.other, prompt=None, name="greet", text="x", shared=False)
    for text in ("/new things in Python?", "/etc", "/greet"):
        services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=users.owner, text=text)
    assert Message.objects.filter(role="user").count() == 3
