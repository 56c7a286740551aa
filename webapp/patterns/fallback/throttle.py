"""When to send the next request: retries with jittered backoff, and a concurrency that follows what the server can take."""

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
    """What an error means for the request it ended."""

    FINAL = "final"
    AGAIN = "again"
    """The same request may work a little later."""
    SLOWER = "slower"
    """The server is fine and asks for fewer requests."""


def verdict_on(error: Exception) -> RetryDecision:
    """Rate limits: slower. Failures of a server that count against it, and conflicts: again. All else, errors of others too: final."""
    if isinstance(error, AllFailed) and error.cause is not None:
        error = error.cause
    if isinstance(error, RateLimited | AllCooling | LimitReached):
        return RetryDecision.SLOWER
    if isinstance(error, BackendError) and (error.counts or isinstance(error, Conflict)):
        return RetryDecision.AGAIN
    return RetryDecision.FINAL


def retry_after_of(error: Exception) -> float | None:
    """Seconds after which the server, or the chain, says it may be asked again."""
    own: float | None = getattr(error, "retry_after", None)
    if own is None and isinstance(error, AllFailed) and error.cause is not None:
        return error.cause.retry_after
    return own


@dataclass(frozen=True, slots=True)
class Retry:
    """How often to ask again.

    Attributes:
        attempts: calls for one item, at most; those that ended in a rate limit are not counted.
        base, cap: seconds; the wait before attempt n + 1 is `base * 2**(n - 1)`, at most `cap`, less up to half of it by chance.
        patience: seconds that an item may wait on rate limits before they become its result.
    """

    attempts: int = 5
    base: float = 0.5
    cap: float = 60.0
    patience: float = 900.0

    def delay(self, failures: int, chance: float) -> float:
        """Seconds to wait after so many failures in a row; `chance` in 0..1 spreads callers that failed together."""
        longest: float = min(self.cap, self.base * 2.0 ** min(failures - 1, 64))
        return longest * (1 - chance / 2)


NEVER = Retry(attempts=1, patience=0.0)
"""Each item is tried once."""


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, replaceable in tests."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    chance: Callable[[], float] = random.random


@dataclass(slots=True)
class ConcurrencyLimiter:
    """Lets at most `limit` requests run at once, and learns the limit: additive increase, multiplicative decrease.

    A rate limit halves it, once for all requests that were under way together, and closes the gate for as long as the server asks (else
    with backoff). Then a single request probes: its success opens the gate, another rate limit closes it for longer. So a storm costs
    hardly more calls than were under way when it began. Each success then adds `1 / limit`.
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
        """Requests that may run at once right now."""
        return 1 if self._streak else int(self.limit)

    async def enter(self) -> float:
        """Wait for a turn; returns the time at which it began, which `throttled` wants to know."""
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
                self._wake()  # the turn was given to us: pass it on
            raise

    def leave(self) -> None:
        """A request ended in some way that says nothing about the limit."""
        self.running -= 1
        self._wake()

    def succeeded(self) -> None:
        """A request was answered."""
        self._streak = 0
        self.limit = min(float(self.maximum), self.limit + 1 / self.limit)
        self.leave()

    def throttled(self, began: float, retry_after: float | None) -> None:
        """A request that entered at `began` met a rate limit."""
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
        """Seconds until the next request may begin; 0 where it may now."""
        return max(0.0, self._closed_until - self.clock.now())

    def _wake(self) -> None:
        free = self.allowed - self.running
        while free > 0 and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1
