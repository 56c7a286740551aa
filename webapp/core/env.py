"""Read the environment: typed readers, the state folder, and secrets that are created on first use."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

from django.core.exceptions import ImproperlyConfigured

ROOT = Path(__file__).resolve().parents[2]
WEAK_SECRETS = frozenset({"secret", "changeme", "insecure", "password", "django-insecure", "test", "patchbay"})
MIN_SECRET_CHARS = 32


def text(name: str, default: str = "") -> str:
    """Return a variable as stripped text; `default` if it is unset or empty."""
    return os.environ.get(name, "").strip() or default


def flag(name: str, *, default: bool) -> bool:
    """Return a variable as a boolean.

    Raises:
        ImproperlyConfigured: the value is not a boolean; the message names the variable.
    """
    value = text(name).lower()
    if not value:
        return default
    if value in {"1", "true", "yes", "on"}:
        return True
    if value in {"0", "false", "no", "off"}:
        return False
    raise ImproperlyConfigured(f"{name} is {value!r}: write 1 or 0")


def number(name: str, default: int) -> int:
    """Return a variable as a whole number.

    Raises:
        ImproperlyConfigured: the value is not a number; the message names the variable.
    """
    value = text(name)
    try:
        return int(value) if value else default
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is {value!r}: write a whole number") from error


def items(name: str, default: str = "") -> list[str]:
    """Return a variable as a list, split at commas."""
    return [item.strip() for item in text(name, default).split(",") if item.strip()]


def home() -> Path:
    """Return the folder that holds all state (`PATCHBAY_HOME`), created with mode 0700.

    Raises:
        ImproperlyConfigured: the folder cannot be created.
    """
    path = Path(text("PATCHBAY_HOME", str(ROOT / "var"))).expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ImproperlyConfigured(f"PATCHBAY_HOME cannot be {path}: {error.strerror}") from error
    return path


def kept_secret(filename: str, make: str) -> str:
    """Return the secret in `home()/filename`. On first use, write `make` there with mode 0600, unless another process was first."""
    path = home() / filename
    if not path.exists():
        if not os.access(path.parent, os.W_OK | os.X_OK):
            raise ImproperlyConfigured(f"PATCHBAY_HOME {path.parent} is not writable: make it writable for the user that runs Patchbay")
        handle, draft = tempfile.mkstemp(dir=path.parent)  # mkstemp creates with mode 0600
        with os.fdopen(handle, "w") as file:
            file.write(make + "\n")
        with contextlib.suppress(FileExistsError):  # another process was first: use its secret
            os.link(draft, path)
        Path(draft).unlink()
    return path.read_text().strip()


def secret_key(*, debug: bool) -> str:
    """Return Django's secret key: `PATCHBAY_SECRET_KEY`, or one that was generated on first start.

    Raises:
        ImproperlyConfigured: the key is weak, and debug is off.
    """
    key = text("PATCHBAY_SECRET_KEY") or kept_secret("secret_key", secrets.token_urlsafe(50))
    weak = len(key) < MIN_SECRET_CHARS or any(key.lower().startswith(bad) for bad in WEAK_SECRETS)
    if weak and not debug:
        raise ImproperlyConfigured(
            "PATCHBAY_SECRET_KEY is weak or well known: unset it to have one generated, "
            f"or set at least {MIN_SECRET_CHARS} random characters"
        )
    return key
