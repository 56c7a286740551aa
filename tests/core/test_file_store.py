"""Files in an S3-compatible store: moto's server, over real HTTP."""

from __future__ import annotations

import os
import threading
import time
import uuid
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import boto3
import pytest
from django.conf import LazySettings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from django.test import Client
from moto.server import ThreadedMotoServer

import batches.input.files
import chat.uploads
import search.services
from batches.models import File
from tests.users import Users
from webapp.core import file_cache, file_store

pytestmark = pytest.mark.django_db(transaction=True)
KEYS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret"}


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def store(s3: str, settings: LazySettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A bucket of its own as the store of the files; returns the bucket."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    bucket = boto3.resource("s3", endpoint_url=s3, region_name="us-east-1").Bucket(f"files-{uuid.uuid4().hex[:12]}")
    bucket.create()
    options = {"bucket_name": bucket.name, "endpoint_url": s3, "region_name": "us-east-1", "location": "team", "file_overwrite": True}
    settings.MEDIA_ROOT = tmp_path / "files"
    settings.STORAGES = settings.STORAGES | {"files": {"BACKEND": "storages.backends.s3.S3Storage", "OPTIONS": options}}
    return bucket


def names(bucket: Any) -> set[str]:
    return {entry.key for entry in bucket.objects.all()}


def lose(path: Path) -> None:
    """Another machine: it has no copy."""
    path.unlink()


def test_a_batch_file_is_published_fetched_where_it_is_missing_and_deleted(store: Any, users: Users) -> None:
    file = batches.input.files.store(user=users.owner, filename="a.jsonl", purpose="batch", data=[b"one\n", b"two\n"])
    assert names(store) == {f"team/{file.id}"}
    lose(file.target)
    assert File.objects.get(pk=file.pk).path.read_bytes() == b"one\ntwo\n"
    batches.input.files.delete(file=file)
    assert not file.target.exists()
    assert names(store) == set()


def test_an_attachment_is_shown_by_a_machine_that_lacks_it(store: Any, users: Users, as_owner: Client) -> None:
    upload = chat.uploads.keep(user=users.owner, file=SimpleUploadedFile("note.txt", b"hello"))
    lose(chat.uploads.path(upload.id))
    response = as_owner.get(f"/chat/files/{upload.id}/")
    assert b"".join(response.streaming_content) == b"hello"  # type: ignore[attr-defined]  # a streaming response
    chat.uploads.discard(upload=upload)
    assert names(store) == set()


def test_a_document_is_read_by_a_machine_that_lacks_it(store: Any, users: Users) -> None:
    collection = search.services.create_collection(owner=users.owner, name="c")
    document = search.services.add_file(collection=collection, name="a.txt", content=[b"text"]).document
    lose(search.services.file_path(document.pk))
    assert search.services.kept_file(document.pk).read_bytes() == b"text"
    assert search.services.add_file(collection=collection, name="b.txt", content=[b"text"]).existed
    assert len(names(store)) == 1
    search.services.delete_collection(collection=collection)
    assert names(store) == set()


def used_minutes_ago(minutes: int, name: str, *, publish: bool = True) -> Path:
    path = file_store.path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 100)
    if publish:
        file_store.publish(path)
    os.utime(path, (time.time() - 60 * minutes,) * 2)
    return path


def test_copies_that_were_used_the_longest_ago_are_deleted_beyond_the_limit(store: Any, settings: LazySettings) -> None:
    settings.FILE_CACHE_BYTES = 250
    oldest, older = used_minutes_ago(50, "oldest"), used_minutes_ago(40, "older")
    unpublished, recent = used_minutes_ago(60, "unpublished", publish=False), used_minutes_ago(5, "recent")
    file_store.local(oldest)  # and so the one that was used last
    assert file_store.trim(250) == 1
    assert [path.exists() for path in (oldest, older, unpublished, recent)] == [True, False, True, True]
    assert file_store.trim(0) == 0
    assert file_store.local(older).read_bytes() == b"x" * 100


def test_a_copy_that_differs_from_the_store_stays(store: Any) -> None:
    changed = used_minutes_ago(50, "changed")
    changed.write_bytes(b"more than the store has" * 10)
    os.utime(changed, (0, 0))
    assert file_store.trim(0) == 0
    assert changed.exists()


def test_adding_a_file_trims_the_copies(store: Any, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.FILE_CACHE_BYTES = 1
    monkeypatch.setattr(file_cache, "_next_look", float("inf"))
    old = used_minutes_ago(50, "old")
    monkeypatch.setattr(file_cache, "_next_look", 0.0)
    used_minutes_ago(0, "new")
    for thread in threading.enumerate():
        if thread.name == "file-cache":
            thread.join()
    assert not old.exists()


def test_a_file_that_neither_side_has_is_missing(store: Any) -> None:
    assert not file_store.local(file_store.path_of("nothing")).exists()


def test_files_are_copied_both_ways_and_an_interrupted_copy_goes_on(store: Any, settings: LazySettings) -> None:
    root = Path(settings.MEDIA_ROOT)
    contents = {"one": b"1", "search/ab/two": b"22", "chat/three": b"333"}
    for name, content in {**contents, "four.part": b"unfinished", "incoming/tmp1/file": b"unfinished"}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    file_store.publish(root / "one")
    store.put_object(Key="team/search/ab/two", Body=b"2")  # what an interrupted copy by another program may leave
    said = StringIO()
    call_command("copy_files", "--to", "store", stdout=said)
    assert said.getvalue() == "2 files copied, 1 were there\n"
    assert names(store) == {f"team/{name}" for name in contents}
    for name in contents:
        (root / name).unlink()
    (root / "one").write_bytes(b"1")
    said = StringIO()
    call_command("copy_files", "--to", "folder", stdout=said)
    assert said.getvalue() == "2 files copied, 1 were there\n"
    assert {name: (root / name).read_bytes() for name in contents} == contents


def test_a_store_that_is_down_is_said_and_leaves_nothing_behind(
    store: Any, settings: LazySettings, users: Users, as_owner: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.STORAGES["files"]["OPTIONS"]["endpoint_url"] = "http://127.0.0.1:9"
    settings.STORAGES = {**settings.STORAGES}
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(batches.input.files.StorageFull):
        batches.input.files.store(user=users.owner, filename="a.jsonl", purpose="batch", data=[b"one\n"])
    assert not File.objects.exists()
    response = as_owner.post("/chat/files/", {"file": SimpleUploadedFile("note.txt", b"hello")})
    assert "The file store does not answer" in response.content.decode()
    with pytest.raises(CommandError, match="again"):
        call_command("copy_files", "--to", "folder")


def test_without_a_store_the_command_says_what_to_set() -> None:
    with pytest.raises(CommandError, match="PATCHBAY_S3_BUCKET"):
        call_command("copy_files", "--to", "store")
