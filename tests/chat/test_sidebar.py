"""The list of conversations: its parts, its search, and the archive."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import unquote

import pytest
from django.test import Client
from django.utils import timezone

from chat import search, sidebar
from chat.models import Conversation, Message
from tests.users import Users
from webapp.accounts.models import User

pytestmark = pytest.mark.django_db
MORE = re.compile(r'hx-get="(/chat/(?:list|archive|find)/\?[^"]+)"')
ENTRY = re.compile(r'id="c-(\w+)"')


def conversations(user: User, count: int, **fields: object) -> list[Conversation]:
    now = timezone.now()
    rows = (Conversation(user=user, title=f"Talk {n:03}", updated_at=now - timedelta(hours=n), **fields) for n in range(count))
    return Conversation.objects.bulk_create(rows)


def all_pages(client: Client, address: str, headers: dict[str, str] | None = None) -> str:
    """Follow "load more" to the end."""
    text = page = client.get(address, headers=headers).content.decode()
    while found := MORE.search(page.replace("&amp;", "&")):
        page = client.get(found[1], headers={"HX-Request": "true"}).content.decode()
        text += page
    return text


def test_every_conversation_is_reached_once_by_scrolling(as_owner: Client, users: Users) -> None:
    made = conversations(users.owner, 200)
    text = all_pages(as_owner, "/chat/list/")
    assert ENTRY.findall(text) == [one.id.hex for one in made]
    headings = re.findall(r'<h2 class="side-heading">([^<]+)</h2>', text)
    assert len(headings) == len(set(headings)), "a heading is not repeated where a part ends"


def test_conversations_of_the_same_time_are_reached_once(as_owner: Client, users: Users) -> None:
    made = conversations(users.owner, 150)
    Conversation.objects.update(updated_at=timezone.now())
    assert sorted(ENTRY.findall(all_pages(as_owner, "/chat/list/"))) == sorted(one.id.hex for one in made)


def test_a_folder_shows_its_latest_and_loads_the_rest(as_owner: Client, users: Users) -> None:
    made = conversations(users.owner, 50, folder="R&D / sea")
    page = as_owner.get("/chat/list/").content.decode()
    assert ENTRY.findall(page) == [one.id.hex for one in made[: sidebar.FOLDERED]]
    assert ENTRY.findall(all_pages(as_owner, "/chat/list/")) == [one.id.hex for one in made]


def test_a_refresh_keeps_the_length_of_the_list(as_owner: Client, users: Users) -> None:
    conversations(users.owner, 200)
    page = as_owner.get("/chat/list/?shown=60&shown=60").content.decode()
    assert len(ENTRY.findall(page)) == 120


@pytest.mark.parametrize("after", ["x", "2026-01-01~1", "2026-01-01T00:00:00~0c7b1c9bd3f14d9d8a1f0b6f7f3f1a11", "~"])
def test_an_address_that_nobody_wrote_is_not_found(as_owner: Client, after: str) -> None:
    assert as_owner.get("/chat/list/", {"after": after}).status_code == 404


def message(conversation: Conversation, text: str, **fields: object) -> Message:
    return Message.objects.create(conversation=conversation, role="user", text=text, **fields)


def test_hits_are_grouped_by_conversation_and_open_at_their_message(as_owner: Client, users: Users) -> None:
    first, second = conversations(users.owner, 2)
    hits = [message(first, f"the tide of day {n}") for n in range(5)]
    message(second, "a single tide")
    page = as_owner.get("/chat/find/?q=tide").content.decode()
    assert page.count(f'href="/chat/{first.id}/"') == 1
    assert f"/chat/{first.id}/?message={hits[-1].id}&amp;words=tide" in page
    assert "2 more in this conversation" in page
    assert "2 conversations" in page


def test_titles_are_found_whatever_their_case_and_marked(as_owner: Client, users: Users) -> None:
    conversations(users.owner, 1)
    Conversation.objects.update(title="Ärger mit <b>Gezeiten</b>", archived=True)
    for query in ("ärger", "GEZEITEN", "Ärger gezei"):
        page = as_owner.get("/chat/find/", {"q": query}).content.decode()
        assert "<mark>" in page
        assert "&lt;b&gt;" in page


def test_the_search_reads_on_to_the_last_match(as_owner: Client, users: Users) -> None:
    for conversation in conversations(users.owner, 150):
        message(conversation, "common words")
    page = all_pages(as_owner, "/chat/find/?q=common")
    assert len(re.findall(r"\?message=", page)) == 150


def test_imported_messages_are_listed_by_their_own_time(users: Users) -> None:
    from chat.models import search_number

    old, new = conversations(users.owner, 2)
    message(new, "same words")
    past = timezone.now() - timedelta(days=400)
    message(old, "same words", created_at=past, search_id=search_number(past))
    assert [entry.conversation.id for entry in search.find(users.owner, "same words").found] == [new.id, old.id]


def test_the_archive_lists_finds_and_gives_back(as_owner: Client, as_other: Client, users: Users) -> None:
    conversation = conversations(users.owner, 1)[0]
    undo = as_owner.post(f"/chat/{conversation.id}/archive/")
    assert b"Undo" in undo.content
    assert undo.has_header("HX-Trigger")
    assert conversation.id.hex not in as_owner.get("/chat/list/").content.decode()
    assert b"Talk 000" in as_owner.get("/chat/archive/?q=talk").content
    assert b"Talk 000" not in as_owner.get("/chat/archive/?q=nothing").content
    assert b"Talk 000" not in as_other.get("/chat/archive/").content
    as_owner.post(f"/chat/{conversation.id}/archive/")
    assert b"The archive is empty" in as_owner.get("/chat/archive/").content


def test_a_long_archive_is_reached_to_its_end(as_owner: Client, users: Users) -> None:
    conversations(users.owner, 130, archived=True)
    assert len(set(re.findall(r"Talk \d+", unquote(all_pages(as_owner, "/chat/archive/"))))) == 130


def test_deleting_another_conversation_stays_on_the_page(as_owner: Client, users: Users) -> None:
    shown, other = conversations(users.owner, 2)
    headers = {"HX-Current-URL": f"http://testserver/chat/{shown.id}/"}
    assert as_owner.post(f"/chat/{other.id}/delete/", headers=headers).has_header("HX-Trigger")
    assert as_owner.post(f"/chat/{shown.id}/delete/", headers=headers)["HX-Redirect"] == "/chat/"


def test_the_palette_finds_any_conversation_by_its_title(as_owner: Client, as_other: Client, users: Users) -> None:
    conversations(users.owner, 300)
    assert b"Talk 299" in as_owner.get("/chat/palette/conversations/?q=talk+299").content
    assert b"Talk" not in as_other.get("/chat/palette/conversations/?q=talk").content
