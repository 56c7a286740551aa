"""Import of other products' export files."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from chat import imports
from chat.models import Conversation, Message


def said(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}, "create_time": 1_700_000_000.5, **more}


CHATGPT: dict[str, Any] = {
    "conversation_id": "abc",
    "title": "Tides\x00",
    "create_time": 1_700_000_000.0,
    "update_time": 1_700_000_500.0,
    "current_node": "a2",
    "mapping": {
        "root": {"message": None, "parent": None, "children": ["s"]},
        "s": {"message": said("system", "hidden"), "parent": "root", "children": ["q"]},
        "q": {"message": said("user", "Why tides?"), "parent": "s", "children": ["a1", "t"]},
        "a1": {"message": said("assistant", "The Moon.", metadata={"model_slug": "gpt-4o"}), "parent": "q", "children": []},
        "t": {"message": said("assistant", "search()", recipient="web"), "parent": "q", "children": ["a2"]},
        "a2": {"message": said("assistant", "The *Moon* and the Sun."), "parent": "t", "children": []},
    },
}
OPEN_WEBUI: dict[str, Any] = {
    "id": "w1",
    "title": "Rain",
    "updated_at": 1_700_000_000,
    "pinned": True,
    "chat": {
        "history": {
            "currentId": "2",
            "messages": {
                "1": {"parentId": None, "childrenIds": ["2"], "role": "user", "content": "Rain?", "timestamp": 1_700_000_000},
                "2": {"parentId": "1", "childrenIds": [], "role": "assistant", "content": "Yes.", "model": "llama3"},
            },
        }
    },
}


def sent(client: Client, data: bytes) -> Any:
    return client.post("/chat/import/", {"file": SimpleUploadedFile("export.json", data)})


@pytest.mark.django_db
def test_chatgpts_branches_come_over_and_what_nobody_sees_does_not(as_owner: Client, as_other: Client) -> None:
    assert b"1 conversation imported" in sent(as_owner, json.dumps([CHATGPT]).encode()).content
    conversation = Conversation.objects.get()
    assert (conversation.title, conversation.updated_at.year) == ("Tides", 2023)
    assert sorted(Message.objects.values_list("text", flat=True)) == ["The *Moon* and the Sun.", "The Moon.", "Why tides?"]
    page = as_owner.get(f"/chat/{conversation.id}/").content.decode()
    assert "<em>Moon</em> and the Sun" in page
    assert "2/2" in page
    assert as_other.get(f"/chat/{conversation.id}/").status_code == 404
    assert b"Tides" in as_owner.get("/chat/find/?q=tides").content


@pytest.mark.django_db
def test_open_webuis_file_comes_over_and_only_once(as_owner: Client) -> None:
    data = json.dumps([OPEN_WEBUI]).encode()
    sent(as_owner, data)
    assert b"0 conversations imported; 1 were here" in sent(as_owner, data).content
    conversation = Conversation.objects.get()
    assert conversation.pinned
    assert conversation.leaf
    assert (conversation.leaf.text, conversation.leaf.model) == ("Yes.", "llama3")


def test_chatgpts_archive_is_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("conversations.json", json.dumps([CHATGPT]))
    assert imports.read(buffer.getvalue())[0].title == "Tides"


CIRCLE = {"mapping": {"a": {"parent": "b", "message": said("user", "x")}, "b": {"parent": "a", "message": said("user", "y")}}}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JSON file"),
        (b"[" * 200_000, "not a JSON file"),
        (b"\xff\xfe\x00", "not a JSON file"),
        (b"PK\x03\x04broken", "cannot be read"),
        (b"[1]", "neither"),
        (json.dumps([CHATGPT, {"mapping": {"a": 3}}]).encode(), "Conversation 2: a message is no object"),
        (json.dumps([CHATGPT, CIRCLE]).encode(), "form a circle"),
        (json.dumps([OPEN_WEBUI, {"chat": {}}]).encode(), "no history.messages"),
    ],
)
def test_a_hostile_file_is_refused_whole_with_the_reason(as_owner: Client, data: bytes, why: str) -> None:
    response = sent(as_owner, data or b" ")
    assert response.status_code == 422
    assert why in response.content.decode()
    assert not Conversation.objects.exists()


def test_odd_fields_are_no_error() -> None:
    odd = {
        "mapping": {
            "a": {
                "parent": 7,
                "message": said("user", "x") | {"create_time": float("nan"), "content": {"parts": [{"asset_pointer": "f"}, 3]}},
            },
            "b": {"parent": "a", "message": {"author": None, "content": [], "metadata": 1}},
        },
        "title": 5,
        "update_time": 1e300,
    }
    (found,) = imports.read(json.dumps(odd).encode())
    assert [turn.text for turn in found.turns] == [f"{imports.NOT_TEXT}\n\n{imports.NOT_TEXT}"]
    assert found.at is None


def test_a_million_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports._Budget, "left", 5)
    with pytest.raises(imports.Unreadable, match="more than"):
        imports.read(json.dumps([CHATGPT]).encode())


def test_files_stay_behind_and_the_message_names_them() -> None:
    attached = {"attachments": [{"name": "plan.pdf", "id": "file-1"}, {"id": "file-2"}]}
    message = {"author": {"role": "user"}, "content": {"content_type": "text", "parts": ["Look"]}, "metadata": attached}
    chatgpt = [{"id": "c", "title": "t", "mapping": {"a": {"parent": None, "message": message}}, "current_node": "a"}]
    files = [{"type": "image", "url": "data:image/png;base64,AA=="}, {"type": "file", "name": "notes.txt"}, 7]
    messages = {"a": {"parentId": None, "role": "user", "content": "Look", "files": files}}
    open_webui = [{"id": "c", "title": "t", "chat": {"history": {"messages": messages, "currentId": "a"}}}]
    assert imports.read(json.dumps(chatgpt).encode())[0].turns[0].text == "Look\n\n*(not imported: plan.pdf, a file)*"
    assert imports.read(json.dumps(open_webui).encode())[0].turns[0].text == "Look\n\n*(not imported: image, notes.txt, a file)*"
