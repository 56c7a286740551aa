"""Secrets taken out of what servers say, before anybody sees it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

MASK: Final = "[redacted]"
_SHORTEST: Final = 4
"""A shorter secret is no secret, and masking it would eat ordinary words."""
_KEYLIKE: Final = re.compile(r"\b(?:sk|pk|rk|gsk|hf|xai|nvapi|pb)[-_][A-Za-z0-9_\-*.]{12,}|(?i:\bbearer\s+)[^\s\"',;}]{8,}")


class Redactor:
    """Removes the given secrets, as they are and URL-encoded, and anything that looks like an API key."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= _SHORTEST for form in (secret, quote(secret, safe=""))}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """The text without secrets."""
        if self._known:
            text = self._known.sub(MASK, text)
        return _KEYLIKE.sub(MASK, text)

    def json(self, value: Any, depth: int = 20) -> Any:
        """A copy of a JSON value without secrets, keys of objects included; what lies deeper than `depth` is left out."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.json(item, depth - 1) for name, item in value.items()} if depth else {}
        if isinstance(value, list):
            return [self.json(item, depth - 1) for item in value] if depth else []
        return value


def redact(text: str, *secrets: str) -> str:
    """The text without the given secrets and without anything that looks like an API key."""
    return Redactor(secrets).text(text)
