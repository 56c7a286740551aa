"""Reading the environment, and secrets made on first use."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from webapp.core import env


def test_a_secret_is_made_once_and_private(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """FAULTS 11: random, mode 0600, the same afterwards."""
    monkeypatch.setenv("PATCHBAY_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PATCHBAY_SECRET_KEY", raising=False)
    key = env.secret_key(debug=False)
    assert len(key) >= env.MIN_SECRET_CHARS
    assert env.secret_key(debug=False) == key
    assert stat.S_IMODE((tmp_path / "home" / "secret_key").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "home").stat().st_mode) == 0o700
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["secret_key"]


@pytest.mark.parametrize("weak", ["secret", "short", "django-insecure-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"])
def test_a_weak_secret_refuses_to_start(monkeypatch: pytest.MonkeyPatch, weak: str) -> None:
    """FAULTS 11: with debug off."""
    monkeypatch.setenv("PATCHBAY_SECRET_KEY", weak)
    with pytest.raises(ImproperlyConfigured, match="PATCHBAY_SECRET_KEY"):
        env.secret_key(debug=False)
    assert env.secret_key(debug=True) == weak


def test_an_unreadable_flag_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHBAY_BUILTIN", "perhaps")
    with pytest.raises(ImproperlyConfigured, match="PATCHBAY_BUILTIN is 'perhaps'"):
        env.flag("PATCHBAY_BUILTIN", default=True)
    monkeypatch.setenv("PORT", "http")
    with pytest.raises(ImproperlyConfigured, match="PORT"):
        env.number("PORT", 8000)


@pytest.mark.parametrize(("value", "meaning"), [("1", True), ("YES", True), ("off", False), ("", True)])
def test_flags_read_as_people_write_them(monkeypatch: pytest.MonkeyPatch, value: str, meaning: bool) -> None:
    monkeypatch.setenv("PATCHBAY_BUILTIN", value)
    assert env.flag("PATCHBAY_BUILTIN", default=True) is meaning
