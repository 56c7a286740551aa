"""The error tree. Errors are raised low, say what to do, and are handled in one place.

    PatternError
    ├── BackendError                 a server did not do its part; says whether the next step may be tried
    │   ├── Unreachable              refused, DNS, TLS                                next, counts
    │   ├── TimedOut                 connect, first token, between tokens             next, counts
    │   │   └── ConnectTimedOut      no connection in time
    │   ├── ServerFailed             408, 5xx, 529                                    next, counts
    │   ├── BadAnswer                200 with HTML, broken JSON, no choices           next, counts
    │   ├── RateLimited              429                                              next, cools for Retry-After
    │   ├── QuotaExhausted           429 insufficient_quota, 402                      next, cools long, flagged
    │   ├── AuthenticationFailed     401, 403                                         next, flagged
    │   ├── ModelMissing             404 for the model                                next for that model
    │   ├── ContextOverflow          400 in every dialect                             next with a larger window, else cut once
    │   ├── CapabilityMissing        400 "does not support tools"                     next capable step
    │   ├── Conflict                 409                                              once more, then next
    │   ├── RequestRejected          other 400, 413, 422                              to the caller at once
    │   └── StreamBroken             cut, stalled or error after the first content    the route's mid-stream policy
    ├── ChainError
    │   ├── ModelNotFound            no route, backend or model of that name
    │   ├── ModelForbidden           the user may not use it
    │   ├── BudgetSpent              the user's or the group's budget of the month is spent
    │   ├── LimitReached             requests or tokens a minute are used up; carries retry_after
    │   ├── AllFailed                every step was tried in vain
    │   └── AllCooling               no step may be tried yet; carries retry_after
    ├── OutputError                  structured output; keeps the raw text and the usage
    │   ├── OutputInvalid            still invalid after the last try
    │   ├── OutputRefused            the model refused
    │   ├── OutputTruncated          finish_reason length
    │   └── OutputFiltered           finish_reason content_filter
    ├── InputError                   the caller's input is wrong: says what, where, and what to do
    └── EmbeddingError               wrong dimension, NaN, count or order

Messages are for people and never hold a secret: `redact` is applied where text from a server enters.
"""

from __future__ import annotations

from typing import Any, ClassVar

from webapp.patterns.types import Attempt, Usage


class PatternError(Exception):
    """Base of all errors that the patterns raise on purpose."""

    @property
    def message(self) -> str:
        return str(self.args[0]) if self.args else type(self).__name__


class BackendError(PatternError):
    """A backend did not answer as asked.

    Attributes:
        try_next: whether the next step of a chain may be tried.
        counts: whether it counts against the backend's circuit breaker.
        flag: whether an administrator must act.
        status: the HTTP status, where there was one.
        retry_after: seconds after which the server says it may be asked again.
        body: the error object as the server sent it, secrets removed; what a caller gets for `RequestRejected`.
    """

    try_next: ClassVar[bool] = True
    counts: ClassVar[bool] = False
    flag: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        body: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.body = body


class Unreachable(BackendError):
    counts = True


class TimedOut(BackendError):
    counts = True


class ConnectTimedOut(TimedOut):
    pass


class ServerFailed(BackendError):
    counts = True


class BadAnswer(BackendError):
    counts = True


class RateLimited(BackendError):
    pass


class QuotaExhausted(BackendError):
    flag = True


class AuthenticationFailed(BackendError):
    flag = True


class ModelMissing(BackendError):
    pass


class ContextOverflow(BackendError):
    """The request is longer than the model's window; `window` in tokens where the server said it."""

    def __init__(self, message: str, *, window: int | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.window = window


class CapabilityMissing(BackendError):
    pass


class Conflict(BackendError):
    pass


class RequestRejected(BackendError):
    try_next = False


class StreamBroken(BackendError):
    """A stream failed after its first content."""

    counts = True


class ChainError(PatternError):
    """No backend of a chain could answer. `attempts` says who was tried and why not."""

    status: ClassVar[int] = 502
    code: ClassVar[str] = "no_backend_answered"

    def __init__(self, message: str, *, attempts: list[Attempt] | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.attempts = attempts or []
        self.retry_after = retry_after


class ModelNotFound(ChainError):
    status = 404
    code = "model_not_found"


class ModelForbidden(ChainError):
    status = 403
    code = "model_forbidden"


class BudgetSpent(ChainError):
    status = 429
    code = "insufficient_quota"


class LimitReached(ChainError):
    """`rule` is the limit in words, without when to try again."""

    status = 429
    code = "rate_limit_exceeded"

    def __init__(self, message: str, *, rule: str, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)
        self.rule = rule


class AllFailed(ChainError):
    """Every step was tried. `cause` is the last backend's error."""

    def __init__(self, message: str, *, cause: BackendError | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.cause = cause


class AllCooling(ChainError):
    status = 503
    code = "all_backends_cooling_down"


class OutputError(PatternError):
    """Structured output could not be had. `raw` is the model's last text."""

    def __init__(self, message: str, *, raw: str = "", usage: Usage | None = None) -> None:
        super().__init__(message)
        self.raw = raw
        self.usage = usage or Usage()


class OutputInvalid(OutputError):
    pass


class OutputRefused(OutputError):
    pass


class OutputTruncated(OutputError):
    pass


class OutputFiltered(OutputError):
    pass


class InputError(PatternError):
    """The caller's input is wrong. `param` names the field, `line` the line of a file, `code` OpenAI's error code."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.line = line


class EmbeddingError(PatternError):
    pass
