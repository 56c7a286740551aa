"""The chat's pages, without a browser."""

from __future__ import annotations

import uuid
from pathlib import Path
from uuid import UUID

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils import timezone

from chat import selectors, services
from chat.models import Conversation, Message, Upload
from tests.users import Users

pytestmark = pytest.mark.django_db


@pytest.fixture
def conversation(users: Users) -> Conversation:
    """A question and an answer of the owner."""
    started = services.send_message(owner=uuid.uuid4(), conversation_id=uuid.uuid4(), user=users.owner, text="A <b>question</b>")
    parts = [{"kind": "text", "text": "An *answer*"}]
    services.finish_generation(
        generation_id=started.generation.id, parts=parts, outcome=services.Outcome(), html="<p>An <em>answer</em></p>"
    )
    return Conversation.objects.get()


def answer_id(conversation: Conversation) -> UUID:
    assert conversation.leaf_id
    return conversation.leaf_id


def test_a_new_chat_has_the_test_ids_of_the_contract(as_owner: Client) -> None:
    page = as_owner.get("/chat/").content.decode()
    for name in ("conversation-list", "new-chat", "chat-log", "chat-input", "chat-send", "chat-stop", "route-picker"):
        assert f'data-testid="{name}"' in page, name


def test_a_conversation_shows_its_messages_escaped(as_owner: Client, conversation: Conversation) -> None:
    """FAULTS 5: titles and questions are text."""
    page = as_owner.get(f"/chat/{conversation.id}/").content.decode()
    assert "A &lt;b&gt;question&lt;/b&gt;" in page
    assert "<em>answer</em>" in page
    assert "<b>question" not in page


def test_nothing_of_a_conversation_exists_for_others(as_other: Client, conversation: Conversation) -> None:
    """FAULTS 7."""
    base, message = f"/chat/{conversation.id}", f"/chat/messages/{conversation.leaf_id}"
    for path in (f"{base}/", f"{base}/before/{conversation.leaf_id}/", f"{message}/markdown/", f"{message}/curl/0/"):
        assert as_other.get(path).status_code == 404, path
    for path in (f"{base}/rename/", f"{base}/delete/", f"{message}/branch/", f"{message}/delete/"):
        assert as_other.post(path, {"title": "mine"}).status_code == 404, path
    assert Conversation.objects.get().title == "A <b>question</b>"


def test_signed_out_it_asks_to_sign_in(client: Client, conversation: Conversation) -> None:
    assert client.get(f"/chat/{conversation.id}/")["Location"].startswith("/accounts/login/")


def test_renaming_and_deleting(as_owner: Client, conversation: Conversation) -> None:
    assert as_owner.post(f"/chat/{conversation.id}/rename/", {"title": " New   name "}).status_code == 204
    conversation.refresh_from_db()
    assert (conversation.title, conversation.titled) == ("New name", True)
    assert services.set_first_title(conversation_id=conversation.id, title="Automatic") is None
    conversation.refresh_from_db()
    assert conversation.title == "New name"
    assert as_owner.post(f"/chat/{conversation.id}/delete/")["HX-Redirect"] == "/chat/"
    assert not Conversation.objects.exists()


def test_an_edited_question_makes_a_branch_and_the_old_one_stays(as_owner: Client, conversation: Conversation, users: Users) -> None:
    question = Message.objects.get(role="user")
    started = services.edit_message(owner=uuid.uuid4(), message_id=question.id, user=users.owner, text="Another question")
    services.finish_generation(
        generation_id=started.generation.id, parts=[{"kind": "text", "text": "Second"}], outcome=services.Outcome(), html="<p>Second</p>"
    )
    page = as_owner.get(f"/chat/{conversation.id}/").content.decode()
    assert "Another question" in page
    assert "2/2" in page
    assert "A &lt;b&gt;question" not in page.split('id="chat-log"', 1)[1]
    assert as_owner.post(f"/chat/messages/{question.id}/branch/").status_code == 204
    page = as_owner.get(f"/chat/{conversation.id}/").content.decode()
    assert "1/2" in page
    assert "<em>answer</em>" in page


def test_deleting_from_a_message_keeps_what_is_before_it(as_owner: Client, conversation: Conversation) -> None:
    assert as_owner.post(f"/chat/messages/{answer_id(conversation)}/delete/").status_code == 204
    assert [message.role for message in Message.objects.all()] == ["user"]
    conversation.refresh_from_db()
    assert conversation.leaf_id == Message.objects.get().id


def test_a_long_conversation_comes_a_window_at_a_time(as_owner: Client, users: Users) -> None:
    conversation = Conversation.objects.create(user=users.owner, updated_at=timezone.now())
    parent: Message | None = None
    for number in range(75):
        role = "assistant" if number % 2 else "user"
        parent = Message.objects.create(
            conversation=conversation, parent=parent, role=role, text=f"message-{number}.", html=f"message-{number}."
        )
    services.change_conversation(conversation=conversation, leaf=parent)
    page = as_owner.get(f"/chat/{conversation.id}/").content.decode()
    assert "message-74." in page
    assert "message-63." in page
    assert "message-62." not in page
    first = next(message for message in Message.objects.all() if message.text == "message-63.")
    earlier = as_owner.get(f"/chat/{conversation.id}/before/{first.id}/").content.decode()
    assert "message-62." in earlier
    assert "message-51." in earlier
    assert "message-50." not in earlier
    assert "hx-get" in earlier


def test_a_link_opens_a_long_conversation_at_its_message_and_reads_on_both_ways(as_owner: Client, users: Users) -> None:
    conversation = Conversation.objects.create(user=users.owner, updated_at=timezone.now())
    made: list[Message] = []
    for number in range(60):
        parent, text = made[-1] if made else None, f"message-{number}."
        made.append(Message.objects.create(conversation=conversation, parent=parent, role="user", text=text))
    services.change_conversation(conversation=conversation, leaf=made[-1])
    page = as_owner.get(f"/chat/{conversation.id}/?message={made[20].id}").content.decode()
    assert f'data-linked="m-{made[20].id.hex[:16]}"' in page
    assert [number for number in range(60) if f"message-{number}." in page] == list(range(18, 30))
    later = as_owner.get(f"/chat/{conversation.id}/after/{made[29].id}/{made[-1].id}/").content.decode()
    assert [number for number in range(60) if f"message-{number}." in later] == list(range(30, 42))
    assert "Loading later" in later
    assert "Loading later" not in as_owner.get(f"/chat/{conversation.id}/after/{made[50].id}/{made[-1].id}/").content.decode()


def test_a_link_to_a_message_of_another_branch_shows_that_branch(as_owner: Client, conversation: Conversation, users: Users) -> None:
    question = Message.objects.get(role="user")
    services.edit_message(owner=uuid.uuid4(), message_id=question.id, user=users.owner, text="Another question")
    page = as_owner.get(f"/chat/{conversation.id}/?message={question.id}").content.decode()
    assert "A &lt;b&gt;question" in page.split('id="chat-log"', 1)[1]


def test_a_fork_has_the_branch_up_to_its_message_and_leaves_the_original(
    as_owner: Client, conversation: Conversation, users: Users
) -> None:
    later = Message.objects.create(conversation=conversation, parent_id=conversation.leaf_id, role="user", text="Later")
    assert "HX-Redirect" in as_owner.post(f"/chat/messages/{conversation.leaf_id}/fork/").headers
    fork = Conversation.objects.exclude(id=conversation.id).get()
    assert [message.text for message in selectors.branch(fork)] == ["A <b>question</b>", "An *answer*"]
    assert Message.objects.get(id=later.id).conversation_id == conversation.id
    assert "<em>answer</em>" in as_owner.get(f"/chat/{fork.id}/").content.decode()


def test_a_question_whose_answer_was_deleted_can_be_asked_again(as_owner: Client, conversation: Conversation, users: Users) -> None:
    as_owner.post(f"/chat/messages/{answer_id(conversation)}/delete/")
    question = Message.objects.get()
    assert "Ask again" in as_owner.get(f"/chat/{conversation.id}/").content.decode()
    started = services.regenerate_answer(owner=uuid.uuid4(), message_id=question.id, user=users.owner)
    assert started.answer.parent_id == question.id


def test_a_long_conversation_costs_as_few_queries_as_a_short_one(
    as_owner: Client, conversation: Conversation, django_assert_max_num_queries: object
) -> None:
    with django_assert_max_num_queries(18):  # type: ignore[operator]  # pytest-django's fixture has no type here
        as_owner.get(f"/chat/{conversation.id}/")


def test_settings_are_kept_and_checked(as_owner: Client, conversation: Conversation) -> None:
    url = f"/chat/{conversation.id}/settings/"
    assert b"calculator" in as_owner.get(url).content
    form = {"system_prompt": "Be brief.", "temperature": "0.3", "tools": ["calculator"], "json_schema": '{"type": "object"}'}
    assert b"Saved" in as_owner.post(url, form).content
    conversation.refresh_from_db()
    assert conversation.system_prompt == "Be brief."
    assert conversation.options["temperature"] == 0.3
    assert conversation.options["tools"] == ["calculator"]
    assert conversation.options["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert b"This is not JSON. Line 1, column 2" in as_owner.post(url, {"json_schema": "{"}).content
    assert b"less than or equal to 2" in as_owner.post(url, {"temperature": "9"}).content


def test_words_are_found_in_ones_own_conversations_only(as_owner: Client, as_other: Client, conversation: Conversation) -> None:
    assert f"/chat/{conversation.id}/".encode() in as_owner.get("/chat/find/?q=answ").content
    assert b"<mark>" in as_owner.get("/chat/find/?q=question").content
    assert b"<b>question" not in as_owner.get("/chat/find/?q=question").content
    assert str(conversation.id).encode() not in as_other.get("/chat/find/?q=answ").content


@pytest.mark.parametrize("query", ['"', "%%%%", "AND OR NOT", "a* NEAR(b)", "text:x", "(", "x" * 20_000, "日本", "\x00", "'; DROP TABLE"])
def test_no_query_is_an_error(as_owner: Client, conversation: Conversation, query: str) -> None:
    """FAULTS 48, for the search over conversations."""
    assert as_owner.get("/chat/find/", {"q": query}).status_code == 200


def test_deleted_and_changed_words_are_not_found(as_owner: Client, conversation: Conversation) -> None:
    Message.objects.filter(id=answer_id(conversation)).update(text="changed")
    assert b"No results for" in as_owner.get("/chat/find/?q=answer").content
    conversation.delete()
    assert b"No results for" in as_owner.get("/chat/find/?q=changed").content


def test_exports_hold_the_conversation_and_nobody_elses(as_owner: Client, as_other: Client, conversation: Conversation) -> None:
    text = as_owner.get(f"/chat/{conversation.id}/export.md")
    assert "An *answer*" in text.content.decode()
    assert text["Content-Disposition"].startswith("attachment")
    assert as_owner.get(f"/chat/{conversation.id}/export.json").json()["messages"][0]["text"] == "A <b>question</b>"
    for form in ("md", "json"):
        assert as_other.get(f"/chat/{conversation.id}/export.{form}").status_code == 404


def test_a_shared_link_can_be_read_and_taken_back(as_owner: Client, client: Client, conversation: Conversation) -> None:
    as_owner.post(f"/chat/{conversation.id}/share/")
    conversation.refresh_from_db()
    link = f"/chat/shared/{conversation.share_token}/"
    assert b"<em>answer</em>" in client.get(link).content
    as_owner.post(f"/chat/{conversation.id}/share/")
    assert client.get(link).status_code == 404


def test_the_meter_counts_what_would_be_sent(as_owner: Client, conversation: Conversation) -> None:
    services.change_conversation(conversation=conversation, model="no-such-model")
    assert b"svg" not in as_owner.post(f"/chat/{conversation.id}/meter/", {"text": "x"}).content


def test_files_are_kept_for_their_owner_and_odd_ones_refused(as_owner: Client, as_other: Client, settings: object, tmp_path: Path) -> None:
    """FAULTS 19, 21."""
    settings.MEDIA_ROOT = tmp_path  # type: ignore[attr-defined]  # pytest-django's fixture
    png = SimpleUploadedFile("../../x.png", b"\x89PNG\r\n\x1a\n" + b"0" * 50)
    script = SimpleUploadedFile("x.svg", b"<svg onload=alert(1)>")
    broken = SimpleUploadedFile("x.bin", b"\x7fELF" + bytes(range(32)) * 4)
    page = as_owner.post("/chat/files/", {"file": [png, script, broken]}).content.decode()
    assert page.count('name="attachment"') == 2
    assert "Only images" in page
    image, text = Upload.objects.all()
    assert (image.name, image.type, text.type) == ("x.png", "image/png", "text/plain")
    assert as_owner.get(f"/chat/files/{text.id}/")["Content-Disposition"].startswith("attachment")
    assert as_owner.get(f"/chat/files/{image.id}/")["X-Content-Type-Options"] == "nosniff"
    assert as_other.get(f"/chat/files/{image.id}/").status_code == 404


def ask(conversation: Conversation, users: Users, text: str) -> None:
    """Ask in the conversation, and end the answer."""
    started = services.send_message(owner=uuid.uuid4(), conversation_id=conversation.id, user=users.owner, text=text)
    services.finish_generation(generation_id=started.generation.id, parts=[], outcome=services.Outcome(), html="")


def test_a_shared_page_ends_where_it_was_shared_until_its_owner_shares_more(
    as_owner: Client, client: Client, conversation: Conversation, users: Users
) -> None:
    address = f"/chat/{conversation.id}/share/"
    as_owner.post(address)
    conversation.refresh_from_db()
    link = f"/chat/shared/{conversation.share_token}/"
    ask(conversation, users, "Second question")
    assert "Second question" not in client.get(link).content.decode()
    assert "Share the messages since then" in as_owner.get(f"/chat/{conversation.id}/").content.decode()
    as_owner.post(address, {"how": "snapshot"})
    assert "Second question" in client.get(link).content.decode()
    as_owner.post(address, {"how": "live"})
    ask(conversation, users, "Third question")
    assert "Third question" in client.get(link).content.decode()
    as_owner.post(address, {"how": "off"})
    assert client.get(link).status_code == 404


def test_a_shared_page_whose_end_was_deleted_shows_nothing_newer(as_owner: Client, client: Client, conversation: Conversation) -> None:
    as_owner.post(f"/chat/{conversation.id}/share/")
    conversation.refresh_from_db()
    services.delete_from(message=Message.objects.get(role="assistant"))
    page = client.get(f"/chat/shared/{conversation.share_token}/").content.decode()
    assert "<em>answer</em>" not in page
    assert "question</b>" not in page.split("chat-log", 1)[1].split("</header>", 1)[1]


def test_an_answer_that_is_being_written_is_not_shared(as_owner: Client, conversation: Conversation, users: Users) -> None:
    services.send_message(owner=uuid.uuid4(), conversation_id=conversation.id, user=users.owner, text="Next")
    assert as_owner.post(f"/chat/{conversation.id}/share/").status_code == 409
    conversation.refresh_from_db()
    assert conversation.share_token is None
