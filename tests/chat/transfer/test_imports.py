"""Imports of export files of other products."""

from __future__ import annotations

import base64
import io
import json
import random
import zipfile
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from chat import services
from chat.models import Conversation, Message, Upload
from chat.transfer import import_writer, imports
from chat.transfer.conversations import Imported, Unreadable
from tests.users import Users
from webapp.accounts.models import User


def chatgpt_message(role: str, text: str, **more: Any) -> dict[str, Any]:
    return {"author": {"role": role}, "content": {"content_type": "text", "parts": [text]}, "create_time": 1_700_000_000.5, **more}


CHATGPT: dict[str, Any] = {
    "conversation_id": "abc",
    "title": "Tides\x00",
    "create_time": 1_700_000_000.0,
    "update_time": 1_700_000_500.0,
    "current_node": "a2",
    "mapping": {
        "root": {"message": None, "parent": None, "children": ["s"]},
        "s": {"message": chatgpt_message("system", "hidden"), "parent": "root", "children": ["q"]},
        "q": {"message": chatgpt_message("user", "Why tides?"), "parent": "s", "children": ["a1", "t"]},
        "a1": {"message": chatgpt_message("assistant", "The Moon.", metadata={"model_slug": "gpt-4o"}), "parent": "q", "children": []},
        "t": {"message": chatgpt_message("assistant", "search()", recipient="web"), "parent": "q", "children": ["a2"]},
        "a2": {"message": chatgpt_message("assistant", "The *Moon* and the Sun."), "parent": "t", "children": []},
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


def read(data: bytes) -> list[Imported]:
    found = imports.read(io.BytesIO(data))
    assert not found.problems
    return found.conversations


def sent(client: Client, data: bytes) -> Any:
    return client.post("/chat/import/", {"file": SimpleUploadedFile("export.json", data)})


@pytest.mark.django_db
def test_branches_of_chatgpt_are_imported_and_hidden_messages_are_not(as_owner: Client, as_other: Client) -> None:
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
def test_a_file_of_open_webui_is_imported_only_once(as_owner: Client) -> None:
    data = json.dumps([OPEN_WEBUI]).encode()
    sent(as_owner, data)
    assert b"0 conversations imported; 1 skipped (already imported, or empty)" in sent(as_owner, data).content
    conversation = Conversation.objects.get()
    assert conversation.pinned
    assert conversation.leaf
    assert (conversation.leaf.text, conversation.leaf.model) == ("Yes.", "llama3")


def test_chatgpts_archive_is_unpacked() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("conversations.json", json.dumps([CHATGPT]))
    assert read(buffer.getvalue())[0].title == "Tides"


CIRCLE = {
    "mapping": {
        "a": {"parent": "b", "message": chatgpt_message("user", "x")},
        "b": {"parent": "a", "message": chatgpt_message("user", "y")},
    }
}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a JSON file"),
        (b"[" * 200_000, "not a JSON file"),
        (b"\xff\xfe\x00", "not a JSON file"),
        (b"PK\x03\x04broken", "cannot be read"),
        (b"[1]", "neither"),
        (json.dumps([{"mapping": {"a": 3}}]).encode(), "Conversation 1: A message is not an object"),
        (json.dumps([CIRCLE]).encode(), "form a circle"),
        (json.dumps([{"chat": {}}]).encode(), "no history.messages"),
    ],
)
def test_a_file_without_a_readable_conversation_is_refused_with_the_reason(as_owner: Client, data: bytes, why: str) -> None:
    response = sent(as_owner, data or b" ")
    assert response.status_code == 422
    assert why in response.content.decode()
    assert not Conversation.objects.exists()


def test_fields_of_unexpected_types_count_as_missing() -> None:
    odd = {
        "mapping": {
            "a": {
                "parent": 7,
                "message": chatgpt_message("user", "x") | {"create_time": float("nan"), "content": {"parts": [{"asset_pointer": "f"}, 3]}},
            },
            "b": {"parent": "a", "message": {"author": None, "content": [], "metadata": 1}},
        },
        "title": 5,
        "update_time": 1e300,
    }
    (found,) = read(json.dumps(odd).encode())
    assert [turn.text for turn in found.turns] == ["(Not imported: file)"]
    assert found.at is None


def test_too_many_messages_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imports, "MAX_MESSAGES", 2)
    with pytest.raises(Unreadable, match="more than"):
        read(json.dumps([CHATGPT]).encode())


PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 30
DATA_URL = "data:image/png;base64," + base64.b64encode(PNG).decode()


def chatgpt(*attachments: object, parts: tuple[object, ...] = ("Look",), role: str = "user") -> list[dict[str, Any]]:
    metadata = {"attachments": list(attachments)}
    message = {"author": {"role": role}, "content": {"content_type": "text", "parts": list(parts)}, "metadata": metadata}
    return [{"id": "c", "title": "t", "mapping": {"a": {"parent": None, "message": message}}, "current_node": "a"}]


def open_webui(*files: object, content: object = "Look") -> list[dict[str, Any]]:
    messages = {"a": {"parentId": None, "role": "user", "content": content, "files": list(files)}}
    return [{"id": "c", "title": "t", "chat": {"history": {"messages": messages, "currentId": "a"}}}]


def archived(conversations: list[dict[str, Any]], **members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("conversations.json", json.dumps(conversations))
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def test_an_archive_may_be_larger_than_its_conversations_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Years of pictures make archives of hundreds of megabytes."""
    monkeypatch.setattr(imports, "MAX_BYTES", 5_000)
    data = archived([CHATGPT], **{"file-1.png": random.Random(1).randbytes(20_000)})
    assert len(data) > imports.MAX_BYTES
    assert read(data)[0].title == "Tides"
    with pytest.raises(Unreadable, match="at most"):
        read(json.dumps([CHATGPT]).encode() + b" " * 5_000)


@pytest.mark.django_db
def test_an_export_of_patchbay_is_imported_into_another_account(users: Users, as_owner: Client, as_other: Client) -> None:
    sent(as_owner, json.dumps([CHATGPT]).encode())
    original = Conversation.objects.get()
    services.change_conversation(conversation=original, system_prompt="Be brief.")
    export = as_owner.get(f"/chat/{original.id}/export.json").content
    assert b"1 conversation imported" in sent(as_other, export).content
    assert b"1 skipped" in sent(as_other, export).content
    copy = Conversation.objects.get(user=users.other)
    assert (copy.title, copy.system_prompt, str(copy.leaf)) == (original.title, "Be brief.", str(original.leaf))
    said = [list(one.messages.values_list("role", "text", "model", "created_at__second")) for one in (original, copy)]
    assert said[0] == said[1]
    damaged = json.loads(export) | {"messages": [{"id": "a", "role": "user", "text": "Hi", "created_at": "yesterday"}, 7]}
    assert [turn.at for turn in read(json.dumps(damaged).encode())[0].turns] == [None]


def test_files_that_the_export_does_not_hold_are_named() -> None:
    one = chatgpt({"name": "plan.pdf", "id": "file-1"}, {"id": "file-2"})
    assert read(json.dumps(one).encode())[0].turns[0].text == "Look\n\n(Not imported: plan.pdf, file)"
    two = open_webui({"type": "image", "url": "/api/v1/files/1"}, {"type": "file", "name": "notes.txt"}, 7)
    assert read(json.dumps(two).encode())[0].turns[0].text == "Look\n\n(Not imported: picture, notes.txt)"


@pytest.mark.django_db
def test_pictures_and_files_in_an_archive_of_chatgpt_are_imported(as_owner: Client, as_other: Client) -> None:
    """By the id in their names, in whatever folder; a picture without words is a question, too."""
    listed = ({"name": "plan.txt", "id": "file-Plan"}, {"name": "sea.png", "id": "file_sea1"}, {"name": "lost.png", "id": "file-Lost"})
    parts = (
        "",
        {"content_type": "image_asset_pointer", "asset_pointer": "sediment://file_sea1"},
        {"asset_pointer": "file-service://file-Moon"},
    )
    members = {"file-Plan-plan.txt": b"Go by sea.", "user-1/file_sea1-sanitized.png": PNG, "file-Moon.png": PNG}
    response = sent(as_owner, archived(chatgpt(*listed, parts=parts), **members))
    assert b"1 conversation imported" in response.content
    message = Message.objects.get()
    assert message.text == "(Not imported: lost.png)"
    assert [(item["kind"], item["name"]) for item in message.attachments] == [
        ("file", "plan.txt"), ("image", "sea.png"), ("image", "file-Moon.png"),
    ]  # fmt: skip
    assert b"".join(as_owner.get(message.attachments[1]["url"])) == PNG
    assert as_other.get(message.attachments[1]["url"]).status_code == 404
    assert message.attachments[1]["url"] in as_owner.get(f"/chat/{message.conversation_id}/").content.decode()
    as_owner.post(f"/chat/{message.conversation_id}/delete/")
    assert not Upload.objects.exists()


@pytest.mark.django_db
def test_pictures_and_the_text_of_files_are_imported_from_open_webui(as_owner: Client) -> None:
    document = {"type": "file", "name": "report.pdf", "file": {"data": {"content": "All is well."}}}
    content = [{"type": "text", "text": "Look"}, {"type": "image_url", "image_url": {"url": DATA_URL}}]
    sent(as_owner, json.dumps(open_webui({"type": "image", "url": DATA_URL}, document, content=content)).encode())
    message = Message.objects.get()
    assert message.text == "Look"
    assert [item["name"] for item in message.attachments] == ["picture", "report.pdf.txt", "picture"]
    assert b"".join(as_owner.get(message.attachments[1]["url"])) == b"All is well."


@pytest.mark.django_db
def test_a_file_that_cannot_be_stored_is_named_and_the_others_are_imported(
    as_owner: Client, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    """No text, damaged, or beyond what an import may unpack: what a packed file says of its size is not believed."""
    settings.MEDIA_ROOT = tmp_path
    monkeypatch.setattr(import_writer, "MAX_ENCLOSED", 30)
    listed = [{"name": f"{name}.txt", "id": f"file-{name}"} for name in ("binary", "broken", "good", "late")]
    archive = archived(
        chatgpt(*listed), **{"file-binary": b"\x00\x01", "file-broken": b"broken " * 99, "file-good": b"x" * 40, "file-late": b"y"}
    )
    place = archive.index(b"file-broken") + len("file-broken")
    damaged = archive[:place] + bytes(byte ^ 0xFF for byte in archive[place : place + 8]) + archive[place + 8 :]
    sent(as_owner, damaged)
    message = Message.objects.get()
    assert message.text == "Look\n\n(Not imported: binary.txt, broken.txt, late.txt)"
    assert [item["name"] for item in message.attachments] == ["good.txt"]
    assert len(list((tmp_path / "chat").iterdir())) == 1


@pytest.mark.django_db
def test_an_import_that_fails_leaves_no_bytes(as_owner: Client, monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    found = read(json.dumps(open_webui({"type": "image", "url": DATA_URL})).encode())
    monkeypatch.setattr(Message.objects, "bulk_create", Mock(side_effect=OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        import_writer.import_conversations(user=User.objects.get(username="owner"), found=found)
    assert [path.name for path in tmp_path.rglob("*")] == ["chat"]


def test_a_file_of_an_answer_is_named() -> None:
    one = chatgpt({"name": "plot.png", "id": "file-1"}, role="assistant")
    assert read(archived(one, **{"file-1.png": PNG}))[0].turns[0].text == "Look\n\n(Not imported: plot.png)"
