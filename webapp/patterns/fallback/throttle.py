"""Decide when to send the next request: retries with jittered backoff, and a concurrency limit that adapts to the server."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import Enum

from webapp.patterns.errors import AllCooling, AllFailed, BackendError, Conflict, LimitReached, RateLimited

_LONGEST_PAUSE = 3600.0  # seconds; whatever a server asks for, a probe finds out once an hour


class RetryDecision(Enum):
    """The consequence of an error for its request."""

    FINAL = "final"
    AGAIN = "again"
    """The same request may succeed a little later."""
    SLOWER = "slower"
    """The server works and asks for fewer requests."""


def verdict_on(error: Exception) -> RetryDecision:
    """Return the decision: slower for rate limits; again for conflicts and failures that count against a server; final for all else."""
    if isinstance(error, AllFailed) and error.cause is not None:
        error = error.cause
    if isinstance(error, RateLimited | AllCooling | LimitReached):
        return RetryDecision.SLOWER
    if isinstance(error, BackendError) and (error.counts or isinstance(error, Conflict)):
        return RetryDecision.AGAIN
    return RetryDecision.FINAL


def retry_after_of(error: Exception) -> float | None:
    """Return the seconds after which the server, or the chain, accepts a retry."""
    own: float | None = getattr(error, "retry_after", None)
    if own is None and isinstance(error, AllFailed) and error.cause is not None:
        return error.cause.retry_after
    return own


@dataclass(frozen=True, slots=True)
class Retry:
    """How often to retry.

    Attributes:
        attempts: maximum calls for one item. Calls that ended in a rate limit do not count.
        base, cap: seconds. The wait before attempt n + 1 is `base * 2**(n - 1)`, at most `cap`, less up to half of it at random.
        patience: seconds that an item may wait on rate limits before they become its result.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 60.0
    patience: float = 900.0

    def delay(self, failures: int, chance: float) -> float:
        """Return the seconds to wait after so many failures in a row. `chance` in 0..1 spreads callers that failed together."""
        longest: float = min(self.cap, self.base * 2.0 ** min(failures - 1, 64))
        return longest * (1 - chance / 2)


NEVER = Retry(attempts=1, patience=0.0)
"""One attempt per item."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and randomness, replaceable in tests."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


@dataclass(slots=True)
class ConcurrencyLimiter:
    """Limit concurrent requests, and adapt the limit: additive increase, multiplicative decrease.

    A rate limit halves it, once for all requests that ran together, and closes it for the time that the server states (or with backoff).
    Then a single request probes: its success opens it, and another rate limit closes it for longer. So a storm of refusals costs few more
    calls than were running when it began. Each success then adds `1 / limit`.
    """

    maximum: int
    retry: Retry = field(default_factory=Retry)
    clock: Clock = field(default_factory=Clock)
    adaptive: bool = True
    limit: float = 0.0
    running: int = 0
    _closed_until: float = float("-inf")
    _halved_at: float = float("-inf")
    _streak: int = 0
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.limit = float(self.maximum)

    @property
    def allowed(self) -> int:
        """Return the requests that may run at once now."""
        return 1 if self._streak else int(self.limit)

    async def enter(self) -> float:
        """Wait for a slot; return the time at which it was taken, for `throttled`."""
        while True:
            now = self.clock.now()
            if now < self._closed_until:
                await self.clock.sleep(self._closed_until - now)
            elif self.running < self.allowed:
                self.running += 1
                return now
            else:
                await self._turn()

    async def _turn(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._wake()  # the slot was given to this caller: pass it on
            raise

    def leave(self) -> None:
        """Record the end of a request that says nothing about the limit."""
        self.running -= 1
        self._wake()

    def succeeded(self) -> None:
        """Record a successful request."""
        self._streak = 0
        self.limit = min(float(self.maximum), self.limit + 1 / self.limit)
        self.leave()

    def throttled(self, began: float, retry_after: float | None) -> None:
        """Record a rate limit for a request that entered at `began`."""
        if self.adaptive and began >= self._halved_at:
            now = self.clock.now()
            self._streak += 1
            self._halved_at = now
            self.limit = max(1.0, self.limit / 2)
            pause = retry_after or self.retry.delay(self._streak, self.clock.chance())
            self._closed_until = max(self._closed_until, now + min(pause, _LONGEST_PAUSE))
        self.leave()

    @property
    def closed_for(self) -> float:
        """Return the seconds until the next request may begin; 0 for now."""
        return max(0.0, self._closed_until - self.clock.now())

    def _wake(self) -> None:
        free = self.allowed - self.running
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
