"""Errors in Anthropic's shape.

Source: Anthropic's published list of error types, by HTTP status.
"""

from __future__ import annotations

from typing import Final

from webapp.patterns.types import Json

TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
TOO_LONG: Final = "prompt is too long"
"""Clients shorten the conversation when the message of an error begins like this."""


def error_type(status: int) -> str:
    """Return the type that goes with a status."""
    return TYPES.get(status) or ("api_error" if status >= 500 else "invalid_request_error")


def error_body(status: int, message: str, *, code: str | None = None, request_id: str = "") -> Json:
    """Return the body of an error answer, which is also the data of an `error` event.

    Args:
        status: the HTTP status, or the one that the error would have had before the stream began.
        message: for people.
        code: Patchbay's code for the cause, such as `model_not_found`; it goes into `details.error_code`.
        request_id: the id in the answer's headers.
    """
    if code == "context_length_exceeded" and not message.lower().startswith(TOO_LONG):
        message = f"{TOO_LONG}: {message}"
    error: Json = {"type": error_type(status), "message": message}
    if code:
        error["details"] = {"error_code": code}
    return {"type": "error", "error": error, "request_id": request_id or None}
