"""Format errors for OpenAI's clients: status, type, code, and param determine the exception that an SDK raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

from webapp.patterns import errors
from webapp.ports.files_and_batches import ApiError

TYPES = {
    403: "permission_error",
    408: "timeout_error",
    429: "rate_limit_error",
}
QUOTED_CHARS = 2000
ANSWERS: Mapping[type[errors.BackendError], tuple[int, str, str | None]] = {
    errors.ContextOverflow: (400, "context_length_exceeded", "messages"),
    errors.CapabilityMissing: (400, "unsupported_parameter", None),
    errors.ModelMissing: (404, "model_not_found", "model"),
    errors.PathMissing: (404, "unknown_url", None),
    errors.Forbidden: (403, "upstream_refused", None),
    errors.Unaffordable: (402, "insufficient_credits", "max_tokens"),
    errors.Conflict: (409, "conflict", None),
    errors.RateLimited: (429, "rate_limit_exceeded", None),
    errors.QuotaExhausted: (429, "insufficient_quota", None),
    errors.Loading: (503, "model_loading", None),
    errors.AuthenticationFailed: (502, "upstream_authentication_failed", None),
    errors.TimedOut: (504, "upstream_timeout", None),
    errors.StreamBroken: (502, "stream_interrupted", None),
    errors.BackendError: (502, "upstream_unavailable", None),
}
"""Status, code, and param by error class."""


def api_error(error: errors.PatternError) -> ApiError:
    """Return the response for an error of the patterns."""
    match error:
        case errors.AllFailed(cause=errors.BackendError() as cause):
            return _all_failed(error, cause)
        case errors.AllCooling(__cause__=errors.RateLimited(), limited=True):
            return _error(429, error.message, code="rate_limit_exceeded", retry_after=error.retry_after)
        case errors.BudgetSpent():
            told = _error(error.status, error.message, code=error.code, retry_after=error.retry_after)
            told.headers["x-should-retry"] = "false"  # the wait is weeks long
            return told
        case errors.ChainError():
            param = "model" if error.status in {403, 404} else None
            return _error(error.status, error.message, code=error.code, param=param, retry_after=error.retry_after)
        case errors.BackendError():
            return _backend_error(error)
        case errors.InputError():
            return ApiError(400, error.message, code=error.code, param=error.param)
        case _:
            return _error(502, error.message, code="bad_upstream_answer")


def _all_failed(error: errors.AllFailed, cause: errors.BackendError) -> ApiError:
    """Return the last backend's error with a summary of all attempts."""
    told = _backend_error(cause)
    if len(error.attempts) > 1:
        told.message = error.message
    if told.status in {429, 503} and error.retry_after is not None:
        told.headers.update(_retry_after(error.retry_after))
    return told


def _backend_error(error: errors.BackendError) -> ApiError:
    """Choose the status by class. A backend's 401 is a configuration error, and must not look like a wrong key of the caller."""
    if isinstance(error, errors.RequestRejected):
        return _rejected(error)
    kind = next((kind for kind in type(error).__mro__ if kind in ANSWERS), errors.BackendError)
    status, code, param = ANSWERS[kind]
    message = error.message
    if isinstance(error, errors.PathMissing):
        message = f"{message} (The backend has no such endpoint. Its base URL may be wrong.)"
    wait = None if isinstance(error, errors.RequestOverRate) else error.wait or error.retry_after
    told = _error(status, message, code=code, param=param, retry_after=wait if status in {429, 503} else None)
    if isinstance(error, errors.RequestOverRate):
        told.headers["x-should-retry"] = "false"  # the same request never fits
    return told


def _rejected(error: errors.RequestRejected) -> ApiError:
    """Pass on the backend's own message, in OpenAI's shape."""
    body = error.body or {}
    said = body.get("error")
    fields: Mapping[str, object] = said if isinstance(said, dict) else body
    return ApiError(
        error.status or 400,
        _text(fields.get("message")) or error.message,
        type=_text(fields.get("type")) or "invalid_request_error",
        code=_text(fields.get("code")),
        param=_text(fields.get("param")),
    )


def _text(value: object) -> str | None:
    """Return a field of an error as text; servers put numbers where the schema has strings."""
    return None if value is None or isinstance(value, dict | list) else str(value)[:QUOTED_CHARS]


def _error(status: int, message: str, *, code: str | None, param: str | None = None, retry_after: float | None = None) -> ApiError:
    kind = TYPES.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error")
    return ApiError(status, message, type=kind, code=code, param=param, headers=_retry_after(retry_after))


def _retry_after(seconds: float | None) -> dict[str, str]:
    """Return Retry-After in whole seconds, and the milliseconds that OpenAI's SDKs read first."""
    if seconds is None:
        return {}
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1000)))}


def unavailable(message: str, *, retry_after: float = 5) -> ApiError:
    """Return the error for an unreachable service that the gateway needs."""
    return _error(503, message, code="service_unavailable", retry_after=retry_after)
