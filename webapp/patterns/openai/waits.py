"""Read how long a server asks its clients to wait, in every form that servers use."""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

LONGEST_WAIT: Final = 86_400.0
"""Seconds. No wait is longer: a clock or a unit may be wrong."""
_EPOCH: Final = 5e8
"""A larger number of seconds is a moment, not a wait."""
_UNITS: Final = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_AMOUNT: Final = r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|msecs?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)(?![a-z])"
_AMOUNTS: Final = re.compile(_AMOUNT, re.IGNORECASE)
_SPAN: Final = rf"{_AMOUNT}(?:(?:,? and |,? ?){_AMOUNT})*"
_AFTER_ANCHOR: Final = re.compile(
    rf"(?:try|again|retry|wait|resets?|available|limit reset|after|backoff)\b[^.\d\n]{{0,40}}?(?P<span>{_SPAN})", re.IGNORECASE
)
_BARE: Final = re.compile(r"(?:try again|retry|wait)[^.\d\n]{0,24}?(\d+(?:\.\d+)?)(?![\d.]*\s*[a-z%])", re.IGNORECASE)
_ONE: Final = re.compile(
    r"(?:try again|retry|wait)[^.\d\n]{0,20}\b(?:in|after|for|another) (?:a|an|one) (second|minute|hour|day)\b", re.IGNORECASE
)
_MOMENT: Final = re.compile(r"\b(\d{4}-\d\d-\d\d)(?:T| at | )(\d\d:\d\d(?::\d\d)?(?:\.\d+)?) ?(Z|UTC|GMT|[+-]\d\d:?\d\d)", re.IGNORECASE)
_RESET_HEADERS: Final = (
    "ratelimit-reset",
    "x-ratelimit-reset-after",
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
    "x-ratelimit-reset-requests-minute",
    "anthropic-ratelimit-requests-reset",
    "anthropic-ratelimit-tokens-reset",
    "anthropic-ratelimit-input-tokens-reset",
    "anthropic-ratelimit-output-tokens-reset",
)


def retry_after(headers: Mapping[str, str], error: Mapping[str, Any] | None = None, *, now: float | None = None) -> float | None:
    """Return the seconds to wait, 0 to a day; None where the server does not say.

    Args:
        headers: of the response, looked up in lower case.
        error: the error object of the body, its message under "message".
        now: seconds since the epoch.
    """
    moment = time.time() if now is None else now
    for seconds in _found(headers, error or {}, moment):
        if seconds is not None and math.isfinite(seconds):
            return min(max(seconds, 0.0), LONGEST_WAIT)
    return None


def _found(headers: Mapping[str, str], error: Mapping[str, Any], now: float) -> Iterator[float | None]:
    milliseconds = number(headers.get("retry-after-ms"))
    yield None if milliseconds is None else milliseconds / 1000
    yield read_wait(headers.get("retry-after") or headers.get("llm_provider-retry-after"), now)  # the second is LiteLLM's, passed on
    yield from _in_body(error, now)
    yield _in_message(str(error.get("message") or ""), now)
    yield _from_resets(headers, now)


def _in_body(error: Mapping[str, Any], now: float) -> Iterator[float | None]:
    for name, scale in (("retry_after_ms", 0.001), ("retry_after", 1.0), ("retry_after_seconds", 1.0), ("estimated_time", 1.0)):
        seconds = read_wait(error.get(name), now)
        yield None if seconds is None else seconds * scale
    details = error.get("details")
    for part in details if isinstance(details, list) else ():  # Google's RetryInfo
        yield read_wait(part.get("retryDelay"), now) if isinstance(part, dict) else None
    metadata = error.get("metadata")
    carried = metadata.get("headers") if isinstance(metadata, dict) else None
    if isinstance(carried, dict):  # OpenRouter
        lowered = {str(name).lower(): str(value) for name, value in carried.items()}
        yield read_wait(lowered.get("retry-after"), now)
        yield _from_resets(lowered, now)


def _from_resets(headers: Mapping[str, str], now: float) -> float | None:
    """Return the wait until the latest reset of a limit that is used up, or whose remainder the server does not state."""
    waits = []
    for name in _RESET_HEADERS:
        left = number(headers.get(name.replace("-reset", "-remaining")))
        seconds = read_wait(headers.get(name), now)
        if seconds is not None and not (left and left > 0):
            waits.append(seconds)
    return max(waits, default=None)


def read_wait(value: Any, now: float) -> float | None:
    """Return the seconds in `7`, `0.5`, `30s`, `6m0s`, `500ms`, an HTTP date, an ISO time, or seconds or milliseconds since the epoch."""
    seconds = number(value)
    if seconds is not None:
        if seconds > _EPOCH * 1000:
            return seconds / 1000 - now
        return seconds - now if seconds > _EPOCH else seconds
    if not isinstance(value, str):
        return None
    text = value.strip()
    if _AMOUNTS.match(text):
        return _span(text)
    return _until(text, now)


def _until(text: str, now: float) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() - now
    except ValueError:
        pass
    try:
        return email.utils.parsedate_to_datetime(text).timestamp() - now
    except (ValueError, OverflowError):
        return None


def _in_message(message: str, now: float) -> float | None:
    if found := _AFTER_ANCHOR.search(message):
        return _span(found["span"])
    if found := _ONE.search(message):
        return _UNITS[found[1][0].lower()]
    if found := _MOMENT.search(message):
        zone = "+00:00" if found[3].isalpha() else found[3]
        return _until(f"{found[1]}T{found[2]}{zone}", now)
    if found := _BARE.search(message):
        return float(found[1])
    return None


def _span(text: str) -> float:
    """Add up `1h2m3s`, `5 minutes and 20 seconds`."""
    return sum(
        float(amount) * _UNITS["ms" if unit.lower().startswith(("ms", "mil")) else unit[0].lower()]
        for amount, unit in _AMOUNTS.findall(text)
    )


def number(value: Any) -> float | None:
    """Return a number that came as one or as text; None for anything else."""
    if isinstance(value, bool):
        return None
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
