"""Encrypt stored keys with MultiFernet. The key files are separate from Django's secret key. Every failure disables the key."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.core.exceptions import ImproperlyConfigured
from django.db import models

from webapp.core import env

KEY_FILE = "encryption_keys"
KEY_VARIABLE = "PATCHBAY_ENCRYPTION_KEYS"
PREFIX = "fernet:"
HINT_CHARS = 4
MIN_CHARS_FOR_HINT = 12


class KeyLost(Exception):
    """Report that none of the present keys decrypts a stored secret."""


def fernet() -> MultiFernet:
    """Return the keys of `PATCHBAY_ENCRYPTION_KEYS` (newest first, separated by commas), or those of the key file, created on first use.

    Raises:
        ImproperlyConfigured: a value is not a key. A typing error must not count as a new key.
    """
    keys = env.items(KEY_VARIABLE) or env.kept_secret(KEY_FILE, Fernet.generate_key().decode()).split()
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        source = KEY_VARIABLE if env.items(KEY_VARIABLE) else str(env.home() / KEY_FILE)
        raise ImproperlyConfigured(f"{source} holds something that is not a Fernet key (44 characters of URL-safe base64)") from error


def add_key() -> Path:
    """Put a new key at the top of the key file, so that it encrypts from now on. Older keys still decrypt. Returns the file.

    Raises:
        ImproperlyConfigured: the keys come from the environment, where an administrator must add it.
    """
    if env.items(KEY_VARIABLE):
        raise ImproperlyConfigured(f"the keys come from {KEY_VARIABLE}: put a new one before the others there")
    fernet()  # now the file exists and holds keys
    path = env.home() / KEY_FILE
    keys = [Fernet.generate_key().decode(), *path.read_text().split()]
    _replace(path, "\n".join(keys) + "\n")
    return path


def drop_old_keys() -> int:
    """Delete all keys in the key file but the newest; return their number. Call it only after everything is re-encrypted."""
    path = env.home() / KEY_FILE
    keys = path.read_text().split() if path.exists() and not env.items(KEY_VARIABLE) else []
    if len(keys) > 1:
        _replace(path, keys[0] + "\n")
    return max(len(keys) - 1, 0)


def _replace(path: Path, text: str) -> None:
    handle, draft = tempfile.mkstemp(dir=path.parent)  # mode 0600
    with os.fdopen(handle, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    Path(draft).replace(path)


class Secret:
    """An encrypted value as stored. It is displayed only through `reveal()`."""

    __slots__ = ("token",)

    def __init__(self, token: str = "") -> None:
        self.token = token

    @classmethod
    def of(cls, text: str) -> Secret:
        """Encrypt `text` with the newest key; empty text stays empty."""
        return cls(fernet().encrypt(text.encode()).decode() if text else "")

    def reveal(self) -> str:
        """Return the plain text.

        Raises:
            KeyLost: it cannot be decrypted. The ciphertext is never returned.
        """
        if not self.token:
            return ""
        try:
            return fernet().decrypt(self.token.encode()).decode()
        except InvalidToken as error:
            raise KeyLost("the encryption key for this secret is lost: enter the secret again, or restore the key file") from error

    def rotated(self) -> Secret:
        """Return the value encrypted with the newest key.

        Raises:
            KeyLost: it cannot be decrypted.
        """
        try:
            return Secret(fernet().rotate(self.token.encode()).decode()) if self.token else self
        except InvalidToken as error:
            raise KeyLost("the encryption key for this secret is lost: enter the secret again, or restore the key file") from error

    def hint(self) -> str:
        """Return the last four characters, to tell keys apart; empty without a key, and a phrase if the key is lost."""
        try:
            text = self.reveal()
        except KeyLost:
            return "unreadable: the encryption key is lost"
        return f"…{text[-HINT_CHARS:]}" if len(text) >= MIN_CHARS_FOR_HINT else ("set" if text else "")

    def __bool__(self) -> bool:
        return bool(self.token)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.token == self.token

    def __hash__(self) -> int:
        return hash(self.token)

    def __repr__(self) -> str:
        return "<Secret>"

    __str__ = __repr__


class SecretField(models.TextField):
    """A column for a `Secret`. The database holds `fernet:` and a token, never plain text.

    Thanks to the prefix, loading a dump does not encrypt values twice, which would turn a token into a key.
    """

    def from_db_value(self, value: str | None, _expression: Any, _connection: Any) -> Secret:
        """Return the stored secret, still encrypted."""
        return Secret((value or "").removeprefix(PREFIX))

    def to_python(self, value: Any) -> Secret:
        """Return a `Secret` from a secret, stored text or plain text."""
        if isinstance(value, Secret):
            return value
        text = str(value or "")
        return Secret(text.removeprefix(PREFIX)) if text.startswith(PREFIX) else Secret.of(text)

    def get_prep_value(self, value: Any) -> str:
        """Return the encrypted text to store."""
        token = self.to_python(value).token
        return PREFIX + token if token else ""

    def value_to_string(self, obj: models.Model) -> str:
        """Return the encrypted text for a dump."""
        return self.get_prep_value(self.value_from_object(obj))
