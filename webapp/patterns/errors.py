"""The error tree. Code that talks to a server raises these errors; a chain decides by their attributes, and one place shows them.

    PatternError
    ├── BackendError                 a server did not do its part
    │   ├── Unreachable              refused connection, DNS, TLS
    │   ├── TimedOut                 connect, first token, between tokens
    │   │   └── ConnectTimedOut      no connection in time
    │   ├── ServerFailed             408, 5xx, 529, a crashed model
    │   ├── BadAnswer                200 with HTML, broken JSON, no choices
    │   ├── Loading                  the model is being loaded
    │   ├── RateLimited              429
    │   │   └── RequestOverRate      one request larger than a minute's allowance
    │   ├── QuotaExhausted           the account has no quota or credit
    │   ├── AuthenticationFailed     the key is wrong, expired or not allowed here
    │   ├── Unaffordable             the credit suffices for a shorter answer only
    │   ├── Forbidden                403 for an unknown reason
    │   ├── ModelMissing             the server does not offer the model with this key
    │   ├── PathMissing              the server has no such endpoint: perhaps the base URL is wrong
    │   ├── ContextOverflow          the request is longer than the model's window
    │   ├── CapabilityMissing        the model cannot do what the request needs
    │   │   └── ParameterRefused     the model does not take a parameter, a role or an encoding
    │   ├── Conflict                 409, 424, 425
    │   ├── RequestRejected          other 4xx: the request itself is wrong
    │   │   ├── BodyTooLarge         the body has more bytes than the server takes; carries size
    │   │   └── ContentRefused       a content filter refused the request
    │   └── StreamBroken             cut, stalled or failed after the first content
    ├── ChainError
    │   ├── ModelNotFound            no route, backend or model of that name
    │   ├── ModelForbidden           the user may not use it
    │   ├── BudgetSpent              the monthly budget of the user or the group is spent
    │   ├── LimitReached             requests or tokens per minute are used up; carries retry_after
    │   ├── AllFailed                every step failed
    │   └── AllCooling               every step is paused; carries retry_after
    ├── OutputError                  structured output; keeps the raw text and the usage
    │   ├── OutputInvalid            still invalid after the last try
    │   ├── OutputRefused            the model refused
    │   ├── OutputTruncated          finish_reason length
    │   └── OutputFiltered           finish_reason content_filter
    ├── InputError                   the caller's input is wrong: says what, where, and what to do
    └── EmbeddingError               wrong dimension, NaN, count or order

Messages are for people and hold no secret: `redact` removes secrets where text from a server enters.
"""

from __future__ import annotations

import enum
from typing import Any, ClassVar

from webapp.patterns.types import Attempt, Usage


class Scope(enum.Enum):
    """The reach of a failure. Its consequences never go further."""

    REQUEST = "request"
    """This request alone: its content, its parameters, its size."""
    MOMENT = "moment"
    """This model for a short time: a rate limit, a model that loads."""
    MODEL = "model"
    """This model on this backend."""
    ACCOUNT = "account"
    """The backend's key or account."""
    BACKEND = "backend"
    """The server itself."""


class PatternError(Exception):
    """Base of all errors that the patterns raise on purpose."""

    @property
    def message(self) -> str:
        """Return the text for the user."""
        return str(self.args[0]) if self.args else type(self).__name__


class BackendError(PatternError):
    """A backend did not answer as asked.

    A chain acts on the class attributes alone:

    Attributes:
        scope: the reach of the failure.
        try_next: whether the chain may try its next step.
        counts: whether the failure counts against the circuit breaker.
        flag: whether an administrator must act.
        pause: seconds without calls to the model or account where the server states no wait; 0 for no pause.
        status: the HTTP status, where there was one.
        retry_after: seconds until the server may be asked again, where it says so.
        body: the error object as the server sent it, without secrets.
        detail: the server's full text for the attempt log, where `message` leaves parts of it out.
    """

    scope: ClassVar[Scope] = Scope.REQUEST
    try_next: ClassVar[bool] = True
    counts: ClassVar[bool] = False
    flag: ClassVar[bool] = False
    pause: ClassVar[float] = 0.0

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        retry_after: float | None = None,
        body: dict[str, Any] | None = None,
        detail: str = "",
    ) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after
        self.body = body
        self.detail = detail

    @property
    def wait(self) -> float:
        """Seconds without calls after this failure."""
        return self.pause if self.retry_after is None else self.retry_after


class Unreachable(BackendError):
    """Report that no connection to the backend could be made, or that it broke."""

    scope = Scope.BACKEND
    counts = True


class TimedOut(BackendError):
    """Report that the backend did not answer in time."""

    scope = Scope.MODEL
    counts = True


class ConnectTimedOut(TimedOut):
    """Report that the backend did not accept the connection in time."""

    scope = Scope.BACKEND


class ServerFailed(BackendError):
    """Report a status of 500 or above."""

    scope = Scope.MODEL
    counts = True


class BadAnswer(BackendError):
    """Report an answer that breaks the protocol."""

    scope = Scope.MODEL
    counts = True


class Loading(BackendError):
    """The server is loading the model."""

    scope = Scope.MOMENT
    pause = 5.0


class RateLimited(BackendError):
    """Report that the backend takes no more requests at the moment."""

    scope = Scope.MOMENT
    pause = 5.0


class RequestOverRate(RateLimited):
    """One request needs more tokens than the account may use in a minute. Smaller requests pass."""

    scope = Scope.REQUEST
    pause = 0.0


class QuotaExhausted(BackendError):
    """Report that the account has no credit left."""

    scope = Scope.ACCOUNT
    flag = True
    pause = 1800.0

    @property
    def wait(self) -> float:
        """Seconds without calls: quotas do not come back within minutes."""
        return max(self.pause, self.retry_after or 0.0)


class AuthenticationFailed(BackendError):
    """Report that the backend refuses the key."""

    scope = Scope.ACCOUNT
    flag = True
    pause = 300.0

    @property
    def wait(self) -> float:
        """Seconds without calls."""
        return self.pause


class Unaffordable(BackendError):
    """The account's credit is too low for an answer of the length that the request allows."""


class Forbidden(BackendError):
    """403 without a reason that is known. The list of models tells whether the key is at fault."""


class ModelMissing(BackendError):
    """Report that the backend does not have the model."""

    scope = Scope.MODEL
    pause = 300.0

    @property
    def wait(self) -> float:
        """Seconds without calls."""
        return self.pause


class PathMissing(BackendError):
    """The server does not know the endpoint. Another endpoint of the same server may work."""


class ContextOverflow(BackendError):
    """The request is longer than the model's window; `window` in tokens where the server said it."""

    def __init__(self, message: str, *, window: int | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.window = window


class CapabilityMissing(BackendError):
    """The model cannot do what the request needs; `lacks` names it where it is known (`steps.needs`)."""

    def __init__(self, message: str, *, lacks: str = "", **details: Any) -> None:
        super().__init__(message, **details)
        self.lacks = lacks


class ParameterRefused(CapabilityMissing):
    """The model does not take a parameter, a role or an encoding; `openai.repairs` changes requests that it can do without."""


class Conflict(BackendError):
    """Report a status of 409: another attempt may succeed."""

    scope = Scope.MOMENT


class RequestRejected(BackendError):
    """Report that the request itself is wrong, so that no other step is tried."""

    try_next = False


class BodyTooLarge(RequestRejected):
    """The body has more bytes than the server or a proxy before it takes. Another server may have taken as many (`size`)."""

    def __init__(self, message: str, *, size: int, **details: Any) -> None:
        super().__init__(message, **details)
        self.size = size


class ContentRefused(RequestRejected):
    """A content filter refused the request."""


class StreamBroken(BackendError):
    """A stream failed after its first content."""

    scope = Scope.MODEL
    counts = True


class ChainError(PatternError):
    """Report that no backend of a chain could answer. `attempts` lists the attempts and their errors."""

    status: ClassVar[int] = 502
    code: ClassVar[str] = "no_backend_answered"

    def __init__(self, message: str, *, attempts: list[Attempt] | None = None, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.attempts = attempts or []
        self.retry_after = retry_after


class ModelNotFound(ChainError):
    """Report that no route and no backend has the model."""

    status = 404
    code = "model_not_found"


class ModelForbidden(ChainError):
    """Report that the user may not use the model."""

    status = 403
    code = "model_forbidden"


class BudgetSpent(ChainError):
    """Report that the user has no budget left."""

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
    """Report that every step failed. `cause` is the last backend's error."""

    def __init__(self, message: str, *, cause: BackendError | None = None, **details: Any) -> None:
        super().__init__(message, **details)
        self.cause = cause


class AllCooling(ChainError):
    """Every step is paused; `limited` where each waits for a rate limit."""

    status = 503
    code = "all_backends_cooling_down"

    def __init__(self, message: str, *, limited: bool = False, **details: Any) -> None:
        super().__init__(message, **details)
        self.limited = limited


class OutputError(PatternError):
    """Report that no valid structured output was produced. `raw` is the model's last text."""

    def __init__(self, message: str, *, raw: str = "", usage: Usage | None = None) -> None:
        super().__init__(message)
        self.raw = raw
        self.usage = usage or Usage()


class OutputInvalid(OutputError):
    """Report that no attempt produced output that fits the schema."""


class OutputRefused(OutputError):
    """Report that the model refused to answer."""


class OutputTruncated(OutputError):
    """Report that the output ended at the token limit."""


class OutputFiltered(OutputError):
    """Report that a content filter stopped the output."""


class InputError(PatternError):
    """Report that the caller's input is wrong. `param` names the field, `line` the line of a file, `code` OpenAI's error code."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, line: int | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.line = line


class EmbeddingError(PatternError):
    """Report vectors that cannot be used, such as those of another dimension."""
