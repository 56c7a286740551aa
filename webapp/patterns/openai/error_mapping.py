"""Turn a server's refusal into an error: read the body in any shape, classify it (`openai.classification`), and choose its class."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from webapp.patterns import errors
from webapp.patterns.openai.classification import Verdict, classify, window_in
from webapp.patterns.openai.waits import retry_after
from webapp.patterns.redaction import Redactor
from webapp.patterns.types import Json

MEANINGS: Final[Mapping[str, type[errors.BackendError]]] = {
    "bad_answer": errors.BadAnswer,
    "body_too_large": errors.BodyTooLarge,
    "capability": errors.CapabilityMissing,
    "conflict": errors.Conflict,
    "content": errors.ContentRefused,
    "forbidden": errors.Forbidden,
    "key": errors.AuthenticationFailed,
    "loading": errors.Loading,
    "model_missing": errors.ModelMissing,
    "overflow": errors.ContextOverflow,
    "parameter": errors.ParameterRefused,
    "path_missing": errors.PathMissing,
    "quota": errors.QuotaExhausted,
    "rate_limit": errors.RateLimited,
    "rejected": errors.RequestRejected,
    "request_over_rate": errors.RequestOverRate,
    "server_failed": errors.ServerFailed,
    "unaffordable": errors.Unaffordable,
}
"""The error of each outcome that `refusal_rules.toml` names."""

_LONGEST_MESSAGE: Final = 500
"""Characters of a message that callers see."""
_LONGEST_READ: Final = 8000
"""Characters of a message that the rules look at: a template's trace stands before its reason."""
_DEEPEST: Final = 6
"""Errors nested in errors that are looked into."""
_MESSAGE_NAMES: Final = ("message", "detail", "msg", "error", "error_msg", "errorMessage", "Message", "title", "reason", "errors")
_EMBEDDED: Final = re.compile(r"[{\[].*[}\]]", re.DOTALL)
_GENERIC: Final = re.compile(
    r"^(?:provider returned error|error from provider.{0,60}|bad request|upstream (?:request )?(?:error|failed)\.?|openai_error"
    r"|invalid_request_error|an error occurred\.?|request failed\.?|no reason given.*)$",
    re.IGNORECASE,
)
_INTERNAL: Final = re.compile(
    r"Traceback \(most recent call last\)|\bFile \"[^\"]+\", line \d+|^\s*at \S+ ?\(?\S+:\d+:\d+\)?"
    r"|(?:^|[\s'\"=(:])/(?:[\w.@+-]+/){2,}[\w.@+-]*"
    r"|\b[A-Za-z]:\\(?:[\w .-]+\\)+|\b(?:postgres|mysql|redis|mongodb|amqp)\w*://|\b[A-Z][A-Z0-9_]{3,}=\S+",
    re.MULTILINE,
)
"""File paths, stack traces, connection strings and environment variables."""


@dataclass(frozen=True, slots=True)
class Details:
    """An error body in OpenAI's four words; `raw` is the error object itself, without secrets.

    `nested` holds the texts of errors inside it: an aggregator puts a provider's error into a field of its own.
    """

    message: str
    type: str
    param: str | None
    code: str | None
    raw: Json
    nested: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """All texts that say what the error means, one a line."""
        return "\n".join(filter(None, [self.message, self.type, self.param, self.code, *self.nested]))


def refused(status: int, raw: bytes, headers: Mapping[str, str], redactor: Redactor, *, sent: bytes = b"") -> errors.BackendError:
    """Return the error for a response whose status is not a success; `sent` is the body of the request."""
    details = read_error(_decoded(raw), redactor)
    text = details.message or f"no reason given ({_phrase(status)})"
    wait = retry_after(headers, details.raw)
    return _make(status, details, f"HTTP {status}: ", text, wait, sent)


def reported(body: Any, redactor: Redactor, *, sent: bytes = b"") -> errors.BackendError:
    """Return the error for an error object that came with status 200, in a stream or alone."""
    details = read_error(body, redactor)
    if details.type == "unreadable_stream":
        return errors.BadAnswer(details.message, body=details.raw)
    status = int(details.code) if details.code and details.code.isdecimal() and 400 <= int(details.code) < 600 else 0
    text = details.message or "The server reported an error without a reason."
    return _make(status, details, "", text, retry_after({}, details.raw), sent)


def _make(status: int, details: Details, prefix: str, text: str, wait: float | None, sent: bytes) -> errors.BackendError:
    words = details.words if details.message else f"{text}\n{details.words}"
    verdict = classify(status, words, sent=sent.decode("utf-8", "replace"))
    kind = MEANINGS[verdict.means]
    public = shortened(presentable(text))
    given: dict[str, Any] = {
        "status": status or None,
        "retry_after": wait,
        "body": {**details.raw, "message": public if details.message else ""},
    }
    if public != text:
        given["detail"] = prefix + shortened(text, _LONGEST_READ)
    if kind is errors.BodyTooLarge:
        given["size"] = len(sent)
    return _built(kind, verdict, details, prefix + public, given)


def _built(kind: type[errors.BackendError], verdict: Verdict, details: Details, message: str, given: dict[str, Any]) -> errors.BackendError:
    if issubclass(kind, errors.ContextOverflow):
        return kind(message, window=_window(details), **given)
    if issubclass(kind, errors.CapabilityMissing):
        return kind(message, lacks=verdict.lacks, **given)
    return kind(message, **given)


def presentable(text: str) -> str:
    """Return a server's text for callers: up to the first path, stack trace, connection string or environment variable in it."""
    found = _INTERNAL.search(text)
    if not found:
        return text
    start = text[: found.start()].rstrip(" \n\t:,;-('\"")
    note = "The rest of the server's message is in the attempt log."
    return f"{start} … ({note})" if len(start) > 12 else f"The server reported an internal error. ({note})"


def read_error(body: Any, redactor: Redactor) -> Details:
    """Find message, type, param and code in an error body of any shape: object, list, text, or nested in another error's text."""
    if isinstance(body, list):
        body = body[0] if body else {}
    found = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(found, list):
        found = {"message": found}
    if isinstance(found, str):
        beside = {name: value for name, value in body.items() if name != "error"} if isinstance(body, dict) else {}
        found = {**beside, "message": found}
    if not isinstance(found, dict):
        found = {}
    found = redactor.json(found)
    inner = list(_inner_errors(found, _DEEPEST))
    message = _message(found)
    told = next((text for text in (_message(error) for error in reversed(inner)) if text), "")
    if told and (not message or _GENERIC.match(message) or "{" in message):
        message = told
    return Details(
        message=message,
        type=_word(found.get("type")) or _word(found.get("status")) or _word(found.get("error_type")) or "",
        param=_word(found.get("param")),
        code=_word(found.get("code")),
        raw={"type": None, "param": None, "code": None, **found, "message": message},
        nested=tuple(text for error in inner for text in _texts(error)),
    )


def _inner_errors(error: Any, depth: int) -> Iterator[Json]:
    """Yield the errors inside an error, the outer ones first: as fields, and as JSON or a Python literal inside its texts."""
    if not depth:
        return
    if isinstance(error, str):
        decoded = _embedded(error)
        if decoded is not None:
            yield from _self_and_inner(decoded, depth - 1)
        return
    if not isinstance(error, dict):
        return
    for name in (
        "error",
        "innererror",
        "inner_error",
        "metadata",
        "raw",
        "detail",
        "message",
        "body",
        "response",
        "cause",
        "details",
        "errors",
    ):
        value = error.get(name)
        if isinstance(value, dict):
            yield from _self_and_inner(value, depth - 1)
        elif isinstance(value, str):
            yield from _inner_errors(value, depth)
            if name == "raw" and _embedded(value) is None and value.strip():
                yield {"message": value}
        elif isinstance(value, list):
            for item in value[:5]:
                yield from _self_and_inner(item, depth - 1)


def _self_and_inner(value: Any, depth: int) -> Iterator[Json]:
    if isinstance(value, list):
        value = value[0] if value else None
    if isinstance(value, dict):
        yield value
    yield from _inner_errors(value, depth)


def _embedded(text: str) -> Any:
    """Return the JSON object or Python literal that a text holds; None where it holds none."""
    found = _EMBEDDED.search(text) if len(text) < 100_000 and ("{" in text or "[{" in text) else None
    if not found:
        return None
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(found[0])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return value if isinstance(value, dict | list) else None
    return None


def _texts(error: Json) -> Iterator[str]:
    """Yield the words of a nested error."""
    message = _message(error)
    if message:
        yield message
    for name in ("type", "code", "status", "param", "quotaId", "reason"):
        word = _word(error.get(name))
        if word:
            yield word
    violations = error.get("violations")
    for violation in violations if isinstance(violations, list) else ():  # Google's QuotaFailure
        if isinstance(violation, dict):
            yield from filter(None, map(_word, violation.values()))


def _message(error: Json) -> str:
    for name in _MESSAGE_NAMES:
        value = error.get(name)
        if isinstance(value, list):
            value = "; ".join(filter(None, (_validation(item) for item in value[:5])))
        if isinstance(value, dict):
            value = _message(value)
        if isinstance(value, str) and value.strip():
            return " ".join(value[: 2 * _LONGEST_READ].split())[:_LONGEST_READ]
    return ""


def shortened(text: str, limit: int = _LONGEST_MESSAGE) -> str:
    """Return the text, cut after `limit` characters."""
    return text if len(text) <= limit else text[:limit] + "…"


def _validation(item: Any) -> str:
    """Return one entry of FastAPI's `detail` list, or of a list of errors, as text."""
    if not isinstance(item, dict):
        return str(item)
    where = ".".join(str(part) for part in item["loc"]) if isinstance(item.get("loc"), list) else ""
    said = str(item.get("msg") or item.get("message") or "")
    got = item.get("input")
    if where and isinstance(got, str) and len(got) < 40:
        said = f"{said} (got '{got}')"
    return f"{where}: {said}" if where else said


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and value != "" and not isinstance(value, bool) else None


def _decoded(raw: bytes) -> Any:
    text = raw.decode("utf-8", "replace").lstrip("\ufeff")
    if text.lstrip()[:1] == "<":
        return {"message": _title(text)}
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return {"message": text}


def _title(page: str) -> str:
    """Return what an HTML error page says, in a few words."""
    found = re.search(r"<(?:title|h1)[^>]{0,200}>([^<]{1,200})", page, re.IGNORECASE)
    return f"an HTML page: {found[1].strip()}" if found else "an HTML page"


def _phrase(status: int) -> str:
    if 300 <= status < 400:
        return "a redirect, which is never followed"
    return "the body was empty or held no message"


def _window(details: Details) -> int | None:
    for name in ("n_ctx", "max_model_len", "context_window", "max_context_length"):
        if isinstance(details.raw.get(name), int):
            return int(details.raw[name])
    return window_in(details.message) or next(filter(None, map(window_in, details.nested)), None)
