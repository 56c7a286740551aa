"""Classify a refusal by the ordered rules of `refusal_rules.toml`."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

RULES_FILE: Final = Path(__file__).with_name("refusal_rules.toml")
LONGEST_TEXT: Final = 2000
"""Characters of a refusal that the rules look at: the reason stands at the beginning."""
_QUOTED: Final = re.compile(r"'([^']{3,})'|\"([^\"]{3,})\"|`([^`]{3,})`")
_CLASSES: Final = {"4xx": range(400, 500), "5xx": range(500, 600)}


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the file. `status` None covers every status; a rule without `words` covers every text."""

    means: str
    status: frozenset[int] | None
    words: re.Pattern[str] | None
    unless: re.Pattern[str] | None
    lacks: str
    about_request: bool

    def fits(self, status: int, text: str) -> bool:
        """Return whether the rule covers a refusal with this status and text."""
        if self.status is not None and status not in self.status:
            return False
        if self.words is not None and not self.words.search(text):
            return False
        return self.unless is None or not self.unless.search(text)


@dataclass(frozen=True, slots=True)
class Verdict:
    """The meaning of a refusal: a key of `refusals.MEANINGS`, and the capability that is missing where it is one."""

    means: str
    lacks: str = ""


@functools.cache
def rules() -> tuple[Rule, ...]:
    """Return the rules in their order."""
    return tuple(_rule(entry) for entry in _file()["rule"])


@functools.cache
def _windows() -> tuple[re.Pattern[str], ...]:
    return tuple(re.compile(pattern, re.IGNORECASE) for pattern in _file()["windows"])


@functools.cache
def _file() -> dict[str, Any]:
    return tomllib.loads(RULES_FILE.read_text("utf-8"))


def _rule(entry: dict[str, Any]) -> Rule:
    return Rule(
        means=entry["means"],
        status=_statuses(entry["status"]) if "status" in entry else None,
        words=_any(entry.get("words", ())),
        unless=_any(entry.get("unless", ())),
        lacks=entry.get("lacks", ""),
        about_request=entry.get("about") == "request",
    )


def _statuses(values: Iterable[int | str]) -> frozenset[int]:
    return frozenset(status for value in values for status in (_CLASSES[value] if isinstance(value, str) else (value,)))


def _any(patterns: Iterable[str]) -> re.Pattern[str] | None:
    joined = "|".join(f"(?:{pattern})" for pattern in patterns)
    return re.compile(joined, re.IGNORECASE | re.MULTILINE) if joined else None


def classify(status: int, text: str, *, sent: str = "") -> Verdict:
    """Return the meaning of a refusal.

    Args:
        status: the HTTP status; 0 for an error inside a 200 answer.
        text: the message, type, param and code, one a line.
        sent: the body of the request. Servers repeat parts of a request in their refusals. A caller must not be able to close a model or an
            account by sending "invalid_api_key" as a parameter, so the rules for models and accounts do not see quotations from `sent`.
    """
    text = text[:LONGEST_TEXT]
    return _classified(status, text, without_quotations(text, sent) if sent else text)


@functools.lru_cache(maxsize=2048)
def _classified(status: int, text: str, own: str) -> Verdict:
    """Apply the rules. Refusals come in storms of the same text, and the rules take some milliseconds."""
    for rule in rules():
        if rule.fits(status, text if rule.about_request else own):
            return Verdict(rule.means, rule.lacks)
    return Verdict("bad_answer")


def without_quotations(text: str, sent: str) -> str:
    """Return `text` without the quoted parts that occur in `sent`."""
    return _QUOTED.sub(lambda match: "''" if (match[1] or match[2] or match[3]) in sent else match[0], text)


def window_in(message: str) -> int | None:
    """Return the model's window in tokens as an overflow error states it; None where it does not."""
    plain = re.sub(r"(?<=\d),(?=\d{3})", "", message)
    for pattern in _windows():
        if found := pattern.search(plain):
            return int(found[1])
    return None
