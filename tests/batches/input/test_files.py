"""Files: bytes by id, expiry, deletion."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.utils import timezone

from batches import services
from batches.input import files
from batches.models import Batch, File
from tests.batches.conftest import line, make_batch
from tests.users import Users
from webapp.patterns.errors import InputError


def store(users: Users, name: str = "a.jsonl", **options: int) -> File:
    return files.store(user=users.owner, filename=name, purpose="batch", data=[b"one", b"two"], **options)


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\x", "nul\0name", "x" * 400, "", "\u202eevil"])
def test_a_file_lies_under_its_id_whatever_it_is_called(users: Users, name: str) -> None:
    """FAULTS 19: names with paths, NUL, or 300 characters."""
    file = store(users, name)
    assert file.path == Path(django_settings.MEDIA_ROOT) / str(file.id)
    assert file.path.read_bytes() == b"onetwo"
    assert "/" not in file.filename
    assert 0 < len(file.filename) <= 300
    assert file.filename.isprintable()


def test_a_file_that_is_moved_in_is_no_longer_where_it_was(users: Users, tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_bytes(b"data")
    file = files.adopt(user=users.owner, path=source, filename="x", purpose="batch", expires_after=3600)
    assert (file.path.read_bytes(), file.bytes, source.exists()) == (b"data", 4, False)
    assert file.expires_at == file.created_at + timedelta(hours=1)


@pytest.mark.parametrize(("purpose", "expires_after"), [("nonsense", None), ("batch", 5), ("batch", 10**9)])
def test_a_wrong_upload_is_refused(users: Users, purpose: str, expires_after: int | None) -> None:
    with pytest.raises(InputError):
        files.store(user=users.owner, filename="x", purpose=purpose, data=[], expires_after=expires_after)
    assert not File.objects.exists()


def test_an_upload_that_breaks_off_leaves_nothing(users: Users) -> None:
    before = set(Path(django_settings.MEDIA_ROOT).iterdir())

    def broken() -> object:
        yield b"half"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        files.store(user=users.owner, filename="x", purpose="batch", data=broken())  # type: ignore[arg-type]  # a generator
    assert set(Path(django_settings.MEDIA_ROOT).iterdir()) == before


def test_a_file_over_the_limit_is_refused(users: Users, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 5)
    with pytest.raises(files.FileTooLarge):
        store(users)


def test_expired_files_and_old_drafts_are_swept_and_files_in_use_stay(users: Users, django_capture_on_commit_callbacks: object) -> None:
    gone, used = store(users), make_batch(users.owner, [line("a")]).input_file
    assert used is not None
    File.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    old, new = (Path(django_settings.MEDIA_ROOT) / name for name in ("old.part", "new.part"))
    for draft in (old, new):
        draft.write_bytes(b"x")
    os.utime(old, (0, 0))
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]  # pytest-django's fixture
        assert files.delete_expired() == 1
    assert not gone.path.exists()
    assert used.path.exists()
    assert (old.exists(), new.exists()) == (False, True)
    new.unlink()


def test_the_input_of_a_running_batch_cannot_be_deleted(users: Users) -> None:
    batch = make_batch(users.owner, [line("a")])
    assert batch.input_file is not None
    with pytest.raises(InputError, match="running batch"):
        files.delete(file=batch.input_file)


@pytest.mark.parametrize("wrong", [{"concurrency": 0}, {"webhook_url": "ftp://x"}, {"webhook_url": "http://"}, {"metadata": {"a": 1}}])
def test_wrong_options_of_a_batch_are_refused(users: Users, wrong: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make_batch(users.owner, [line("a")], **wrong)


def test_a_batch_needs_ones_own_batch_file(users: Users) -> None:
    with pytest.raises(InputError):
        services.create_batch(user=users.other, input_file=store(users))
    assert not Batch.objects.exists()


def test_batches_go_when_their_retention_is_over(users: Users, settings: Any, django_capture_on_commit_callbacks: Any) -> None:
    old, young, running = (make_batch(users.owner, [line("a")]) for _ in range(3))
    long_ago = timezone.now() - timedelta(days=8)
    Batch.objects.update(created_at=long_ago)
    Batch.objects.filter(pk=old.pk).update(status="completed", completed_at=long_ago)
    Batch.objects.filter(pk=young.pk).update(status="failed", failed_at=timezone.now())
    assert services.delete_old_batches() == 0
    settings.BATCH_RETENTION_DAYS = 7
    with django_capture_on_commit_callbacks(execute=True):
        assert services.delete_old_batches() == 1
    assert set(Batch.objects.values_list("pk", flat=True)) == {young.pk, running.pk}
    assert old.input_file is not None
    assert not old.input_file.path.exists()


def test_a_batch_that_has_ended_cannot_be_cancelled(users: Users) -> None:
    batch = make_batch(users.owner, [line("a")])
    Batch.objects.update(status="completed")
    with pytest.raises(InputError, match="completed"):
        services.cancel_batch(batch=batch)
