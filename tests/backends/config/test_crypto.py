"""Keys at rest: encrypted, shown as four characters, never replaced by ciphertext."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.fernet import Fernet
from django.core import serializers
from django.core.exceptions import ImproperlyConfigured
from django.core.management import CommandError, call_command
from django.db import connection

from webapp.backends import services
from webapp.backends.config import crypto
from webapp.backends.config.crypto import KeyLost, Secret
from webapp.backends.config.snapshot import load
from webapp.backends.models import Backend

KEY = "sk-test-abcdefghijklmnop-7f3d"


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A state folder of the test's own, so that its keys come and go."""
    monkeypatch.setenv("PATCHBAY_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture
def backend(db: None) -> Backend:
    return services.add_backend(name="a", base_url="http://localhost:1/v1", api_key=KEY)


def column() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT api_key FROM backends_backend")
        return str(cursor.fetchone()[0])


def test_a_key_is_stored_encrypted_and_shown_as_its_last_four(backend: Backend) -> None:
    assert column().startswith("fernet:")
    assert KEY not in column()
    stored = Backend.objects.get()
    assert stored.api_key.reveal() == KEY
    assert stored.api_key.hint() == "…7f3d"
    assert KEY not in f"{stored.api_key!r} {stored.api_key}"


def test_a_short_key_shows_nothing_of_itself() -> None:
    assert Secret.of("hunter2").hint() == "set"


def test_the_key_file_is_for_its_owner_alone(backend: Backend, own_home: Path) -> None:
    assert (own_home / crypto.KEY_FILE).stat().st_mode & 0o777 == 0o600


def test_a_lost_encryption_key_disables_the_backend_and_says_why(backend: Backend, own_home: Path) -> None:
    """FAULTS 18: the ciphertext is never sent as a key."""
    (own_home / crypto.KEY_FILE).unlink()
    stored = Backend.objects.get()
    with pytest.raises(KeyLost):
        stored.api_key.reveal()
    row = load().backends[backend.pk]
    assert row.key == ""
    assert "encryption key for this secret is lost" in row.unusable


def test_a_dump_loaded_again_keeps_the_key_and_does_not_encrypt_it_twice(backend: Backend) -> None:
    dump = serializers.serialize("json", Backend.objects.all())
    assert KEY not in dump
    Backend.objects.all().delete()
    for loaded in serializers.deserialize("json", dump):
        loaded.save()
    assert Backend.objects.get().api_key.reveal() == KEY


def test_something_that_is_no_encryption_key_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(crypto.KEY_VARIABLE, "short")
    with pytest.raises(ImproperlyConfigured, match=crypto.KEY_VARIABLE):
        Secret.of("x")


def test_rotation_makes_the_old_encryption_key_dispensable(backend: Backend, own_home: Path) -> None:
    before = column()
    call_command("rotate_keys", new_key=True, drop_old=True)
    assert column() != before
    assert len((own_home / crypto.KEY_FILE).read_text().split()) == 1
    assert Backend.objects.get().api_key.reveal() == KEY


def test_rotation_names_the_backends_whose_key_is_lost_and_leaves_them(backend: Backend, own_home: Path) -> None:
    (own_home / crypto.KEY_FILE).unlink()
    services.add_backend(name="b", base_url="http://localhost:2/v1", api_key="sk-another-key-0000")
    before = column()
    with pytest.raises(CommandError, match="Cannot be read with any present key: a"):
        call_command("rotate_keys", new_key=True, drop_old=True)
    assert column() == before
    assert Backend.objects.get(name="b").api_key.reveal() == "sk-another-key-0000"
    assert len((own_home / crypto.KEY_FILE).read_text().split()) == 2, "no key is dropped while something could not be read"


def test_keys_from_the_environment_rotate_to_the_first_of_them(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    monkeypatch.setenv(crypto.KEY_VARIABLE, old)
    services.add_backend(name="a", base_url="http://localhost:1/v1", api_key=KEY)
    monkeypatch.setenv(crypto.KEY_VARIABLE, f"{new},{old}")
    assert services.rotate_keys().rotated == ("a",)
    monkeypatch.setenv(crypto.KEY_VARIABLE, new)
    assert Backend.objects.get().api_key.reveal() == KEY
