"""Allow cross-origin requests of browser pages to `/v1` (`PATCHBAY_CORS_ORIGINS`)."""

from __future__ import annotations

from django.conf import settings

from webapp.gateway.http import Call

EXPOSED = (
    "x-request-id, retry-after, retry-after-ms, x-patchbay-backend, x-patchbay-model, x-patchbay-attempts, "
    "x-ratelimit-limit-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-requests, x-ratelimit-remaining-tokens"
)
MAX_AGE_SECONDS = 600


def headers(call: Call) -> dict[str, str]:
    """Return the headers that let the page of the request read the answer; none where its origin is not allowed."""
    origin = call.header("origin")
    allowed = settings.CORS_ORIGINS
    if not origin or not allowed:
        return {}
    if "*" not in allowed and origin not in allowed:
        return {"vary": "Origin"}
    return {"access-control-allow-origin": origin, "vary": "Origin", "access-control-expose-headers": EXPOSED}


def preflight(call: Call, methods: str) -> dict[str, str]:
    """Return the headers of the answer to a preflight request."""
    found = headers(call)
    if "access-control-allow-origin" not in found:
        return found
    asked = call.header("access-control-request-headers") or "authorization, content-type"
    return {
        **found,
        "access-control-allow-methods": methods,
        "access-control-allow-headers": asked[:1000],
        "access-control-max-age": str(MAX_AGE_SECONDS),
    }
