"""What a server's refusal means: every status and every dialect of error body, mapped to the error tree."""

from __future__ import annotations

import email.utils
import json
import math
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from webapp.patterns import errors
from webapp.patterns.redaction import Redactor
from webapp.patterns.types import Json

LONGEST_WAIT: Final = 86_400.0
_LONGEST_MESSAGE: Final = 500

_OVERFLOW: Final = re.compile(
    r"context_length_exceeded|exceed_context_size|context_window_exceeded|string_above_max_length|context (?:length|window|size)"
    r"|\binput_tokens\b|maximum (?:prompt|sequence|input|model) length|max_model_len|prompt is too long|too many (?:input )?tokens"
    r"|input (?:is )?too long|exceeds? the (?:available|maximum) (?:context|number of tokens)"
    r"|reduce the length of the (?:messages|prompt|input)",
    re.IGNORECASE,
)
_WINDOW: Final = re.compile(
    r"(?:maximum context length|context (?:window|length|size)|max_model_len|n_ctx|maximum (?:model|sequence) length|limit)"
    r"[^\d]{0,24}?(\d{3,8})",
    re.IGNORECASE,
)
_CAPABILITY: Final = re.compile(
    r"(?:does not|doesn't|do not|don't|not|isn't|un)[ -]?(?:yet )?(?:currently )?support(?:ed|s|ing)?\b|requires? --enable|--jinja"
    r"|not (?:implemented|available) (?:for|in|on|with) this model|no (?:tool|function)[- ]call(?:ing)? support"
    r"|unsupported_(?:parameter|value)|image input is not|is not a (?:chat|multimodal|vision) model",
    re.IGNORECASE,
)
_WHAT: Final = re.compile(
    r"tool|function|image|vision|multimodal|multi-modal|audio|response_format|json_schema|json_object|json mode|structured|grammar|guided"
    r"|logprobs|stream|system|developer|role|parallel|reasoning|embedding|chat|content part|array|modalit|\bn\b",
    re.IGNORECASE,
)
_NO_MODEL: Final = re.compile(
    r"model_not_found|no such model|unknown model|invalid model"
    r"|\bmodel\b.{0,120}?(?:not found|does not exist|not exist|is not (?:loaded|available|found))",
    re.IGNORECASE,
)
_QUOTA: Final = re.compile(
    r"insufficient_quota|insufficient[_ ](?:funds|credit|balance)|billing|quota_exceeded|exceeded your current quota|payment",
    re.IGNORECASE,
)
_WRONG_KEY: Final = re.compile(
    r"invalid_api_key|api[_ ]key (?:not valid|invalid|is invalid)|(?:incorrect|invalid) api[_ ]key|unauthori[sz]ed", re.IGNORECASE
)
_AGAIN_IN: Final = re.compile(
    r"(?:try again|retry|wait)[^.\d]{0,20}(?:(\d+)h)?(?:(\d+)m(?!s))?(\d+(?:\.\d+)?)?\s*(ms|s|sec|seconds?)?\b", re.IGNORECASE
)
_DURATION: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*(ms|s)?$")


@dataclass(frozen=True, slots=True)
class Details:
    """An error body in OpenAI's four words; `raw` is the error object itself, secrets removed."""

    message: str
    type: str
    param: str | None
    code: str | None
    raw: Json

    @property
    def words(self) -> str:
        """All that may be searched for what the error means."""
        return " ".join(filter(None, [self.message, self.type, self.param, self.code]))


def refused(status: int, raw: bytes, headers: Mapping[str, str], redactor: Redactor) -> errors.BackendError:
    """The error for an HTTP status that is no success."""
    details = read_error(_decoded(raw), redactor)
    wait = retry_after(headers, details)
    text = details.message or f"no reason given ({_phrase(status)})"
    return _make(status, details, f"HTTP {status}: {text}", wait)


def reported(body: Any, redactor: Redactor) -> errors.BackendError:
    """The error for an error object that came with status 200, in a stream or alone."""
    details = read_error(body, redactor)
    status = int(details.code) if details.code and details.code.isdecimal() and 400 <= int(details.code) < 600 else 0
    kind = details.words.lower()
    if details.type == "unreadable_stream":
        return errors.BadAnswer(details.message, body=details.raw)
    if not status and "rate_limit" in kind:
        status = 429
    return _make(status or 0, details, details.message or "The server reported an error without a reason.", retry_after({}, details))


def _make(status: int, details: Details, message: str, wait: float | None) -> errors.BackendError:
    kind = _kind(status, details.words)
    given: dict[str, Any] = {"status": status or None, "retry_after": wait, "body": details.raw}
    if kind is errors.ContextOverflow:
        return errors.ContextOverflow(message, window=_window(details), **given)
    return kind(message, **given)


def _kind(status: int, words: str) -> type[errors.BackendError]:
    if status in {0, 400, 413, 422, 500} and _OVERFLOW.search(words):
        return errors.ContextOverflow
    if status in _PLAIN:
        return _PLAIN[status]
    if status == 429:
        return errors.QuotaExhausted if _QUOTA.search(words) else errors.RateLimited
    if status in {0, 400, 422}:
        return _refusal_of_request(status, words)
    if status >= 500:
        return errors.ServerFailed
    return errors.RequestRejected if status >= 400 else errors.BadAnswer


def _refusal_of_request(status: int, words: str) -> type[errors.BackendError]:
    if _NO_MODEL.search(words):
        return errors.ModelMissing
    if _WRONG_KEY.search(words):
        return errors.AuthenticationFailed
    if _QUOTA.search(words):
        return errors.QuotaExhausted
    if _CAPABILITY.search(words) and _WHAT.search(words):
        return errors.CapabilityMissing
    return errors.RequestRejected if status else errors.ServerFailed


_PLAIN: Final[dict[int, type[errors.BackendError]]] = {
    401: errors.AuthenticationFailed,
    402: errors.QuotaExhausted,
    403: errors.AuthenticationFailed,
    404: errors.ModelMissing,
    405: errors.CapabilityMissing,
    408: errors.ServerFailed,
    409: errors.Conflict,
    410: errors.ModelMissing,
    413: errors.RequestRejected,
    501: errors.CapabilityMissing,
}


def read_error(body: Any, redactor: Redactor) -> Details:
    """Find message, type, param and code in an error body of any shape: object, list, text, or nested."""
    if isinstance(body, list):
        body = body[0] if body else {}
    found = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(found, str):
        found = {**({k: v for k, v in body.items() if k != "error"} if isinstance(body, dict) else {}), "message": found}
    if not isinstance(found, dict):
        found = {}
    found = redactor.json(found)
    message = _message(found)
    code = found.get("code")
    return Details(
        message=message,
        type=_word(found.get("type")) or _word(found.get("status")) or "",
        param=_word(found.get("param")),
        code=_word(code),
        raw={"type": None, "param": None, "code": None, **found, "message": message},
    )


def _message(error: Json) -> str:
    for name in ("message", "detail", "msg", "error", "title"):
        value = error.get(name)
        if isinstance(value, list):
            value = "; ".join(_validation(item) for item in value[:5])
        if isinstance(value, dict):
            value = _message(value)
        if isinstance(value, str) and value.strip():
            text = " ".join(value.split())
            return text if len(text) <= _LONGEST_MESSAGE else text[:_LONGEST_MESSAGE] + "…"
    return ""


def _validation(item: Any) -> str:
    """One entry of FastAPI's `detail` list."""
    if not isinstance(item, dict):
        return str(item)
    where = ".".join(str(part) for part in item["loc"]) if isinstance(item.get("loc"), list) else ""
    return f"{where}: {item.get('msg', '')}" if where else str(item.get("msg", ""))


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" and not isinstance(value, bool) else None


def _decoded(raw: bytes) -> Any:
    text = raw.decode("utf-8", "replace")
    if text.lstrip()[:1] == "<":
        return {"message": _title(text)}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"message": text}


def _title(page: str) -> str:
    """What an HTML error page says, in a few words."""
    found = re.search(r"<(?:title|h1)[^>]{0,200}>([^<]{1,200})", page, re.IGNORECASE)
    return f"an HTML page: {found[1].strip()}" if found else "an HTML page"


def _phrase(status: int) -> str:
    if 300 <= status < 400:
        return "a redirect, which is never followed"
    return "the body was empty or held no message"


def _window(details: Details) -> int | None:
    for name in ("n_ctx", "max_model_len", "context_window"):
        if isinstance(details.raw.get(name), int):
            return int(details.raw[name])
    found = _WINDOW.search(details.message.replace(",", ""))
    return int(found[1]) if found else None


def retry_after(headers: Mapping[str, str], details: Details | None = None, *, now: float | None = None) -> float | None:
    """Seconds to wait, from `retry-after-ms`, `retry-after` (seconds or HTTP date) or the error body; at most a day."""
    for seconds in (_from_ms(headers), _from_header(headers, time.time() if now is None else now), _from_body(details)):
        if seconds is not None and math.isfinite(seconds):
            return min(max(seconds, 0.0), LONGEST_WAIT)
    return None


def _from_ms(headers: Mapping[str, str]) -> float | None:
    value = _number(headers.get("retry-after-ms"))
    return None if value is None else value / 1000


def _from_header(headers: Mapping[str, str], now: float) -> float | None:
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    try:
        return email.utils.parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return None


def _from_body(details: Details | None) -> float | None:
    if details is None:
        return None
    for name, scale in (("retry_after_ms", 0.001), ("retry_after", 1.0), ("retry_after_seconds", 1.0)):
        seconds = _number(details.raw.get(name))
        if seconds is not None:
            return seconds * scale
    return _from_delay(details.raw.get("details")) or _from_message(details.message)


def _from_delay(parts: Any) -> float | None:
    """Google's `details: [{"retryDelay": "17s"}]`."""
    for part in parts if isinstance(parts, list) else ():
        found = _DURATION.match(str(part.get("retryDelay", ""))) if isinstance(part, dict) else None
        if found:
            return float(found[1]) * (0.001 if found[2] == "ms" else 1.0)
    return None


def _from_message(message: str) -> float | None:
    """OpenAI's "Please try again in 6m1.2s" and the like."""
    found = _AGAIN_IN.search(message)
    if not found or not any(found.group(1, 2, 3)):
        return None
    hours, minutes, amount = (float(part or 0) for part in found.group(1, 2, 3))
    return hours * 3600 + minutes * 60 + amount * (0.001 if found[4] == "ms" else 1.0)


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
