"""Files in the composer."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone

from chat import selectors, services, uploads
from chat.generation import history
from chat.models import Conversation, Message, Upload
from search.models import Collection
from tests.chat.conftest import Socket, saying
from tests.users import Users

LARGE = b"words and words\n" * 4000


@pytest.fixture
def media(settings: Any, tmp_path: Path) -> Path:
    settings.MEDIA_ROOT = tmp_path / "media"
    return tmp_path / "media"


@pytest.mark.django_db
def test_short_texts_go_into_the_question_and_large_documents_are_searched(users: Users, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    kept = {name: uploads.keep(user=users.owner, file=SimpleUploadedFile(name, data)) for name, data in
            {"short.txt": b"The zebra", "large.txt": LARGE, "paper.pdf": b"%PDF-1.7 \x00\xff"}.items()}  # fmt: skip
    texts = {name: uploads.text_of(uploads.entry(upload)) for name, upload in kept.items()}
    assert "The zebra" in texts["short.txt"]
    assert "search_documents" in texts["large.txt"]
    assert "search_documents" in texts["paper.pdf"]
    with pytest.raises(uploads.Unusable):
        uploads.keep(user=users.owner, file=SimpleUploadedFile("program.exe", b"MZ\x00\x01\xff"))


@pytest.mark.django_db(transaction=True)
async def test_a_question_brings_its_documents_into_the_conversations_collection(
    users: Users, serve: Any, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    conversation = uuid.uuid4()
    upload = await asyncio.to_thread(uploads.keep, user=users.owner, file=SimpleUploadedFile("large.txt", LARGE))
    async with serve(saying("x")):
        socket = Socket(users.owner, conversation)
        await socket.connect()
        await socket.say(text="What is in it?", attachment=str(upload.id))
        await socket.until_ended()
        await socket.close()
    found = await Collection.objects.aget(conversation=conversation, owner=users.owner)
    assert await found.documents.values_list("name", flat=True).aget() == "large.txt"


def kept(users: Users, name: str = "notes.txt", data: bytes = b"The zebra") -> Upload:
    return uploads.keep(user=users.owner, file=SimpleUploadedFile(name, data))


def sent(users: Users, *uploads: Upload, conversation: uuid.UUID | None = None) -> Message:
    """A question with these files, whose answer has ended."""
    id_ = conversation or uuid.uuid4()
    attached = selectors.attached(users.owner, id_, [str(upload.id) for upload in uploads])
    started = services.send_message(owner=uuid.uuid4(), conversation_id=id_, user=users.owner, text="What is it?", attachments=attached)
    services.finish_generation(generation_id=started.generation.id, parts=[], outcome=services.Outcome(), html="")
    assert started.question
    return started.question


@pytest.mark.django_db(transaction=True)
def test_a_file_goes_with_the_conversation_that_it_was_sent_to(users: Users, media: Path) -> None:
    upload = kept(users)
    question = sent(users, upload)
    assert uploads.path(upload.id).exists()
    services.delete_conversation(conversation=Conversation.objects.get(id=question.conversation_id))
    assert [file for file in media.rglob("*") if file.is_file()] == []


@pytest.mark.django_db(transaction=True)
def test_a_file_goes_with_the_last_message_that_has_it(users: Users, media: Path) -> None:
    first, second = kept(users), kept(users)
    question = sent(users, first)
    later = sent(users, first, second, conversation=question.conversation_id)
    services.delete_from(message=later)
    assert (uploads.path(first.id).exists(), uploads.path(second.id).exists()) == (True, False)


@pytest.mark.django_db(transaction=True)
def test_what_was_never_sent_goes_after_a_day_and_what_was_sent_stays(users: Users, media: Path) -> None:
    fresh, forgotten, older = kept(users), kept(users), kept(users)
    sent(users, older)
    Upload.objects.filter(id=older.id).update(conversation=None)  # as an earlier version left it
    Upload.objects.exclude(id=fresh.id).update(created_at=timezone.now() - 2 * uploads.UNSENT)
    uploads.sweep()
    assert [uploads.path(upload.id).exists() for upload in (fresh, forgotten, older)] == [True, False, True]
    assert Upload.objects.get(id=older.id).conversation


@pytest.mark.django_db(transaction=True)
def test_a_file_is_taken_out_of_the_composer_again_unless_it_was_sent(users: Users, media: Path) -> None:
    unsent, gone = kept(users), kept(users)
    sent(users, unsent)
    for upload in (unsent, gone):
        uploads.discard(upload=upload)
    assert [uploads.path(upload.id).exists() for upload in (unsent, gone)] == [True, False]


@pytest.mark.django_db
def test_a_file_of_one_conversation_is_not_sent_to_another(users: Users, media: Path) -> None:
    """It would be lost there when the first one is deleted."""
    upload = kept(users)
    sent(users, upload)
    with pytest.raises(selectors.NotFound):
        sent(users, upload)


@pytest.mark.django_db
def test_a_model_is_told_which_files_are_gone(users: Users, media: Path) -> None:
    """A disk was lost, or a backup restored without its files: the conversation goes on."""
    question = sent(users, kept(users), kept(users, "cat.png", b"\x89PNG\r\n\x1a\n"))
    for file in media.rglob("*"):
        if file.is_file():
            file.unlink()
    text = str(history.api_messages(question))
    assert "notes.txt is no longer there" in text
    assert "cat.png is no longer there" in text
