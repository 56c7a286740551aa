"""Files in the composer."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from chat import files
from search.models import Collection
from tests.cast import Cast
from tests.chat.conftest import Socket, saying

LARGE = b"words and words\n" * 4000


@pytest.mark.django_db
def test_short_texts_go_into_the_question_and_large_documents_are_searched(cast: Cast, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    kept = {name: files.keep(user=cast.owner, file=SimpleUploadedFile(name, data)) for name, data in
            {"short.txt": b"The zebra", "large.txt": LARGE, "paper.pdf": b"%PDF-1.7 \x00\xff"}.items()}  # fmt: skip
    texts = {name: files.text_of(files.entry(upload)) for name, upload in kept.items()}
    assert "The zebra" in texts["short.txt"]
    assert "search_documents" in texts["large.txt"]
    assert "search_documents" in texts["paper.pdf"]
    with pytest.raises(files.Unusable):
        files.keep(user=cast.owner, file=SimpleUploadedFile("program.exe", b"MZ\x00\x01\xff"))


@pytest.mark.django_db(transaction=True)
async def test_a_question_brings_its_documents_into_the_conversations_collection(
    people: Cast, serve: Any, settings: Any, tmp_path: Path
) -> None:
    settings.MEDIA_ROOT = tmp_path
    conversation = uuid.uuid4()
    upload = await asyncio.to_thread(files.keep, user=people.owner, file=SimpleUploadedFile("large.txt", LARGE))
    async with serve(saying("x")):
        socket = Socket(people.owner, conversation)
        await socket.connect()
        await socket.say(text="What is in it?", attachment=str(upload.id))
        await socket.until_ended()
        await socket.close()
    found = await Collection.objects.aget(conversation=conversation, owner=people.owner)
    assert await found.documents.values_list("name", flat=True).aget() == "large.txt"
