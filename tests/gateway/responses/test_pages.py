"""The pages of stored responses."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from chat.models import Conversation
from tests.users import Users, make_users
from webapp.gateway.models import StoredResponse
from webapp.gateway.responses import records
from webapp.patterns.responses.encoder import EventEncoder
from webapp.patterns.responses.items import normalize_input
from webapp.patterns.responses.objects import new_id, new_response
from webapp.patterns.responses.tools import ToolSet
from webapp.patterns.types import Delta


@pytest.fixture
def users(db: None) -> Users:
    return make_users()


@pytest.fixture
def browser(users: Users) -> Client:
    client = Client()
    client.force_login(users.owner)
    return client


def stored(users: Users, question: str = "What is <b>up</b>?", answer: str = "Not **much**.", **fields: Any) -> StoredResponse:
    response = new_response({"model": "m"}, response_id=new_id("resp_"))
    encoder = EventEncoder(response, ToolSet())
    events = encoder.start() + encoder.add([Delta(answer), Delta(finish_reason="stop")]) + encoder.end_turn() + encoder.finish()
    row = StoredResponse(
        id=response["id"], user=users.owner, request_id=uuid.uuid4(), status="completed", model="m", response=response,
        input=normalize_input(question), finished_at=timezone.now(),
    )  # fmt: skip
    for name, value in fields.items():
        setattr(row, name, value)
    return records.store_response(row, events)


def page(browser: Client, path: str, status: int = 200) -> str:
    answer = browser.get(path)
    assert answer.status_code == status
    return str(answer.content.decode())


def test_an_empty_list_says_what_would_be_there(browser: Client) -> None:
    assert "No stored responses" in page(browser, "/responses/")


def test_the_list_names_each_response_by_its_question(browser: Client, users: Users) -> None:
    stored(users)
    text = page(browser, "/responses/")
    assert "What is &lt;b&gt;up&lt;/b&gt;?" in text
    assert 'data-status="completed"' in text


def test_the_list_is_read_a_page_at_a_time(browser: Client, users: Users) -> None:
    for number in range(31):
        stored(users, question=f"question {number}")
    text = page(browser, "/responses/")
    assert "question 0<" not in text
    older = text.split("?before=")[1].split('"')[0]
    assert "question 0<" in page(browser, f"/responses/?before={older}")
    assert "question 30<" in page(browser, "/responses/?before=nonsense")


def test_responses_of_one_moment_are_all_listed(browser: Client, users: Users) -> None:
    for number in range(61):
        stored(users, question=f"question {number}")
    StoredResponse.objects.update(created_at=timezone.now())
    text, seen = page(browser, "/responses/"), set[str]()
    assert "Newest responses" not in text
    for _ in range(2):
        seen |= set(re.findall(r"question \d+", text))
        text = page(browser, f"/responses/?before={text.split('?before=')[1].split(chr(34))[0]}")
        assert "Newest responses" in text
    assert len(seen | set(re.findall(r"question \d+", text))) == 61
    assert "?before=" not in text


def test_a_response_shows_its_items_and_its_events(browser: Client, users: Users) -> None:
    text = page(browser, f"/responses/{stored(users).pk}/")
    assert "Not **much**." in text
    assert "response.output_text.delta" in text
    assert "&lt;b&gt;up&lt;/b&gt;" in text
    assert "every 2s" not in text


def test_events_are_read_a_page_at_a_time(browser: Client, users: Users) -> None:
    row = stored(users)
    assert "response.created" not in page(browser, f"/responses/{row.pk}/?from=3")
    assert "response.completed" in page(browser, f"/responses/{row.pk}/?from=3")


def test_a_running_response_is_looked_at_again(browser: Client, users: Users) -> None:
    row = stored(users, status="in_progress", background=True)
    text = page(browser, f"/responses/{row.pk}/")
    assert "every 2s" in text
    browser.post(f"/responses/{row.pk}/cancel/")
    row.refresh_from_db()
    assert row.cancel_requested


def test_it_opens_as_a_chat_once(browser: Client, users: Users) -> None:
    first = stored(users, "one", "two")
    row = stored(users, "three", "four", previous=first.pk, request={"instructions": "Be brief."})
    answer = browser.post(f"/responses/{row.pk}/chat/")
    again = browser.post(f"/responses/{row.pk}/chat/")
    assert answer.headers["location"] == again.headers["location"]
    conversation = Conversation.objects.get()
    assert answer.headers["location"] == f"/chat/{conversation.pk}/"
    assert [message.text for message in conversation.messages.all()] == ["one", "two", "three", "four"]
    assert (conversation.model, conversation.system_prompt) == ("m", "Be brief.")


def test_a_response_without_messages_does_not_open(browser: Client, users: Users) -> None:
    row = stored(users)
    StoredResponse.objects.update(input=[], response={"output": []})
    assert browser.post(f"/responses/{row.pk}/chat/").headers["location"] == f"/responses/{row.pk}/"
    assert not Conversation.objects.exists()


def test_a_response_is_deleted(browser: Client, users: Users) -> None:
    row = stored(users)
    assert browser.post(f"/responses/{row.pk}/delete/").headers["location"] == "/responses/"
    assert not StoredResponse.objects.exists()


@pytest.mark.parametrize("action", ["", "chat/", "cancel/", "delete/"])
def test_others_find_nothing(users: Users, action: str) -> None:
    row = stored(users)
    stranger = Client()
    stranger.force_login(users.other)
    answer = stranger.post(f"/responses/{row.pk}/{action}") if action else stranger.get(f"/responses/{row.pk}/")
    assert answer.status_code == 404
    assert "What is" not in page(stranger, "/responses/")
    assert StoredResponse.objects.exists()


def test_the_pages_are_for_people_who_signed_in(client: Client, users: Users) -> None:
    assert client.get("/responses/").status_code == 302
