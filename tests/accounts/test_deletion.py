"""An account that is deleted leaves nothing on the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

import batches.input.files
import chat.uploads
import search.services
from tests.users import Users


def on_disk(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.django_db(transaction=True)
def test_its_files_of_chat_batches_and_search_go_with_it(users: Users, settings: Any, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path
    for user in (users.owner, users.other):
        chat.uploads.keep(user=user, file=SimpleUploadedFile("notes.txt", b"The zebra"))
        batches.input.files.store(user=user, filename="input.jsonl", purpose="batch", data=[b"{}\n"])
        collection = search.services.create_collection(owner=user, name="Library", model="up/small")
        search.services.add_file(collection=collection, name="cats.md", content=[b"Cats sleep."])
    assert len(on_disk(tmp_path)) == 6
    users.owner.delete()
    assert len(on_disk(tmp_path)) == 3
    users.other.delete()
    assert on_disk(tmp_path) == []
