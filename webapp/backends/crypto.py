"""Encryption of stored keys: MultiFernet over key files kept apart from Django's secret key. Fails closed."""

from __future__ import annotations

from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.db import models

from webapp import env

KEY_FILE = "encryption_keys"


class KeyLost(Exception):
    """A stored secret cannot be decrypted with any of the present keys."""


def fernet() -> MultiFernet:
    """The keys of `PATCHBAY_ENCRYPTION_KEYS` (newest first, comma separated), else of the key file, made on first use."""
    keys = env.items("PATCHBAY_ENCRYPTION_KEYS") or env.kept_secret(KEY_FILE, Fernet.generate_key().decode()).split()
    return MultiFernet([Fernet(key) for key in keys])


def encrypt(text: str) -> str:
    """`text` as a Fernet token; empty stays empty."""
    return fernet().encrypt(text.encode()).decode() if text else ""


def decrypt(token: str) -> str:
    """The text of a token from `encrypt`; raises `KeyLost` rather than ever returning the token."""
    if not token:
        return ""
    try:
        return fernet().decrypt(token.encode()).decode()
    except InvalidToken as error:
        raise KeyLost("the encryption key for this secret is lost: enter the secret again, or restore the key file") from error


class Secret:
    """An encrypted value as stored. It shows nothing of itself unless asked through `reveal()`."""

    __slots__ = ("token",)

    def __init__(self, token: str = "") -> None:
        self.token = token

    @classmethod
    def of(cls, text: str) -> Secret:
        return cls(encrypt(text))

    def reveal(self) -> str:
        """The plain text; raises `KeyLost`."""
        return decrypt(self.token)

    def hint(self) -> str:
        """The last four characters, to tell keys apart; empty where there is none, and words where the key is lost."""
        try:
            text = self.reveal()
        except KeyLost:
            return "unreadable: the encryption key is lost"
        return f"…{text[-4:]}" if len(text) >= 12 else ("set" if text else "")

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
    """A column holding a `Secret`; what reaches the database is always a Fernet token."""

    def from_db_value(self, value: str | None, _expression: Any, _connection: Any) -> Secret:
        return Secret(value or "")

    def to_python(self, value: Any) -> Secret:
        return value if isinstance(value, Secret) else Secret.of(str(value or ""))

    def get_prep_value(self, value: Any) -> str:
        return self.to_python(value).token

    def value_to_string(self, obj: models.Model) -> str:
        return self.get_prep_value(self.value_from_object(obj))
