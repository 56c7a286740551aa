"""Explain failures to people: a short title for each error class, and what a chain does about it.

The texts describe the behavior that the attributes of the classes define (`patterns.errors`, `fallback.execution`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Explanation:
    """A title such as "Rate limit", and the effect of the failure on this request and on later ones."""

    title: str
    effect: str = ""


_NEXT = "The next step is tried."
_SKIPPED = "is skipped for 30 seconds, then for longer."
_BREAKER_OF_BACKEND = f"{_NEXT} After five such failures of different users in a row, the backend {_SKIPPED}"
_BREAKER_OF_MODEL = f"{_NEXT} After five such failures of different users in a row, this model {_SKIPPED}"
EXPLANATIONS: Final[Mapping[str, Explanation]] = {
    "Unreachable": Explanation("No connection", _BREAKER_OF_BACKEND),
    "ConnectTimedOut": Explanation("No connection in time", _BREAKER_OF_BACKEND),
    "TimedOut": Explanation("Too slow", _BREAKER_OF_MODEL),
    "ServerFailed": Explanation("Server error", _BREAKER_OF_MODEL),
    "BadAnswer": Explanation("Unreadable answer", _BREAKER_OF_MODEL),
    "Loading": Explanation(
        "Model is loading", "The next step is tried. This model is skipped for as long as the server says, or for 5 seconds."
    ),
    "RateLimited": Explanation(
        "Rate limit",
        "The next step is tried. This model is skipped for as long as the server says, or for 5 seconds. "
        "If every step is rate limited, the request waits once where its time allows.",
    ),
    "RequestOverRate": Explanation("Larger than the rate limit", "The next step is tried. Nothing is skipped: smaller requests pass."),
    "QuotaExhausted": Explanation(
        "No quota left",
        "The next step is tried. This model is skipped for 30 minutes, and the whole backend once a second model fails the same way. "
        "The backend needs attention.",
    ),
    "AuthenticationFailed": Explanation(
        "Key refused",
        "The next step is tried. This model is skipped for 5 minutes, and the whole backend once a second model fails the same way. "
        "The backend needs attention.",
    ),
    "Unaffordable": Explanation("Too little credit for this length", "The next step is tried. Nothing is skipped: shorter answers pass."),
    "Forbidden": Explanation("Not allowed", "The next step is tried. The backend's model list tells whether its key is at fault."),
    "ModelMissing": Explanation("Model missing", "The next step is tried. This model is skipped for 5 minutes."),
    "PathMissing": Explanation("Endpoint missing", "The next step is tried. Nothing is skipped: other endpoints may work."),
    "ContextOverflow": Explanation(
        "Too long for the model",
        "A step with a larger context window is tried. If there is none, the oldest messages are left out and the request is sent again.",
    ),
    "CapabilityMissing": Explanation("Model cannot do this", "The next step that can do it is tried. Nothing is skipped."),
    "ParameterRefused": Explanation(
        "Parameter refused",
        "The request is repaired and sent again where a repair is known. Otherwise, the next step is tried. Nothing is skipped.",
    ),
    "Conflict": Explanation("Conflict", "The same step is tried once more, then the next one."),
    "RequestRejected": Explanation(
        "Request refused", "The caller gets this error. The request itself is at fault, so no other step is tried."
    ),
    "BodyTooLarge": Explanation(
        "Too large for the server",
        "A step whose server has accepted a request of this size is tried. If there is none, the caller gets this error.",
    ),
    "ContentRefused": Explanation(
        "Content filter", "The caller gets this error. No other step is tried, and nothing is skipped for others."
    ),
    "StreamBroken": Explanation("Answer broke off", f"The route's rule for broken streams applies. {_BREAKER_OF_MODEL.partition('. ')[2]}"),
    "BackendError": Explanation("Failed", "The next step is tried."),
    "AllFailed": Explanation("Every step failed"),
    "AllCooling": Explanation("Every step is paused"),
    "BudgetSpent": Explanation("Budget spent"),
    "LimitReached": Explanation("Limit reached"),
    "ModelNotFound": Explanation("Unknown model"),
    "ModelForbidden": Explanation("Model not permitted"),
    "OutputInvalid": Explanation("Answer does not match its schema"),
    "OutputRefused": Explanation("Model declined"),
    "OutputTruncated": Explanation("Answer too long"),
    "OutputFiltered": Explanation("Answer filtered"),
    "InputError": Explanation("Invalid input"),
    "EmbeddingError": Explanation("Unusable embedding"),
}
"""By the name of the class, as attempts store it."""


def explain(error: str) -> Explanation:
    """Return the explanation of an error class by its name. An unknown name becomes words: `SomethingNew` is "Something new"."""
    known = EXPLANATIONS.get(error)
    return known or Explanation(re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", error).capitalize())
