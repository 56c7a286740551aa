"""What went wrong, as an OpenAI client expects to be told: status, type, code and param decide which exception an SDK raises."""

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


def api_error(error: errors.PatternError) -> ApiError:
    """The answer that an error of the patterns becomes."""
    match error:
        case errors.AllFailed(cause=errors.BackendError() as cause):
            return _all_failed(error, cause)
        case errors.AllCooling(__cause__=errors.RateLimited()):
            return _error(429, error.message, code="rate_limit_exceeded", retry_after=error.retry_after)
        case errors.BudgetSpent():
            told = _error(error.status, error.message, code=error.code, retry_after=error.retry_after)
            told.headers["x-should-retry"] = "false"  # nobody waits for weeks
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
    """The last backend's error, told with the story of all that were tried."""
    told = _backend_error(cause)
    if len(error.attempts) > 1:
        told.message = error.message
    if told.status in {429, 503} and error.retry_after is not None:
        told.headers.update(_retry_after(error.retry_after))
    return told


def _backend_error(error: errors.BackendError) -> ApiError:
    """Status by class: a backend's own 401 is a fault of the configuration, and must not read as the caller's wrong key."""
    match error:
        case errors.RequestRejected():
            return _rejected(error)
        case errors.ContextOverflow():
            return ApiError(400, error.message, code="context_length_exceeded", param="messages")
        case errors.CapabilityMissing():
            return ApiError(400, error.message, code="unsupported_parameter")
        case errors.ModelMissing():
            return ApiError(404, error.message, code="model_not_found", param="model")
        case errors.Conflict():
            return ApiError(409, error.message, code="conflict")
        case errors.RateLimited():
            return _error(429, error.message, code="rate_limit_exceeded", retry_after=error.retry_after)
        case errors.QuotaExhausted():
            return _error(429, error.message, code="insufficient_quota", retry_after=error.retry_after)
        case errors.AuthenticationFailed():
            return _error(502, error.message, code="upstream_authentication_failed")
        case errors.TimedOut():
            return _error(504, error.message, code="upstream_timeout")
        case errors.StreamBroken():
            return _error(502, error.message, code="stream_interrupted")
        case _:
            return _error(502, error.message, code="upstream_unavailable")


def _rejected(error: errors.RequestRejected) -> ApiError:
    """The backend's own words, in the shape that it may not have kept."""
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
    """A field of a stranger's error as text; servers put numbers and worse where the schema has strings."""
    return None if value is None or isinstance(value, dict | list) else str(value)[:QUOTED_CHARS]


def _error(status: int, message: str, *, code: str | None, param: str | None = None, retry_after: float | None = None) -> ApiError:
    kind = TYPES.get(status, "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error")
    return ApiError(status, message, type=kind, code=code, param=param, headers=_retry_after(retry_after))


def _retry_after(seconds: float | None) -> dict[str, str]:
    """Retry-After in whole seconds, and the milliseconds that OpenAI's SDKs read first."""
    if seconds is None:
        return {}
    return {"retry-after": str(max(1, math.ceil(seconds))), "retry-after-ms": str(max(1, math.ceil(seconds * 1000)))}


def unavailable(message: str, *, retry_after: float = 5) -> ApiError:
    """Something that the gateway itself needs is away."""
    return _error(503, message, code="service_unavailable", retry_after=retry_after)
