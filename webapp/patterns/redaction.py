"""Mask API keys, tokens and passwords in texts that people or logs will see."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import quote

MASK: Final = "[redacted]"
_SHORTEST: Final = 4
"""Secrets shorter than this are not masked: masking them would remove ordinary words."""
_KEY_PREFIXES: Final = "sk|pk|rk|gsk|hf|xai|nvapi|pb"
"""The prefixes of the keys that providers issue, and of Patchbay's own tokens."""
_KEYLIKE: Final = re.compile(rf"(?<![\w-])(?:{_KEY_PREFIXES})[-_][A-Za-z0-9_\-*.]{{8,}}|(?i:\bbearer\s+)[^\s\"',;}}]{{6,}}")
_ASSIGNED: Final = re.compile(
    r"(?P<name>(?:api[_-]?key|token|password|secret)[\"']?\s*[:=]\s*[\"']?)(?P<secret>[^\s\"',;&]{6,})",
    re.IGNORECASE,
)


class Redactor:
    """Mask the given secrets, plain and URL-encoded, and everything that looks like an API key."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= _SHORTEST for form in (secret, quote(secret, safe=""))}
        longest_first = sorted(known, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, longest_first))) if longest_first else None

    def text(self, text: str) -> str:
        """Return the text with its secrets masked."""
        if self._known:
            text = self._known.sub(MASK, text)
        return _KEYLIKE.sub(MASK, text)

    def json(self, value: Any, depth: int = 20) -> Any:
        """Return a copy of a JSON value with masked secrets, in object keys too. Levels below `depth` are dropped."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, dict):
            return {self.text(str(name)): self.json(item, depth - 1) for name, item in value.items()} if depth else {}
        if isinstance(value, list):
            return [self.json(item, depth - 1) for item in value] if depth else []
        return value


def redact(text: str, *secrets: str) -> str:
    """Return the text with the given secrets and everything that looks like an API key masked."""
    return Redactor(secrets).text(text)


def redact_log(text: str) -> str:
    """Return a log line with masked keys, and with masked values of names such as `password=` and `api_key:`."""
    return _ASSIGNED.sub(lambda found: f"{found['name']}{MASK}", redact(text))
