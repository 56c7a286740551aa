"""One request's walk over the steps of a chain: whom to try next, what each failure means, and when to give up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from webapp.patterns import errors
from webapp.patterns.backend import Server, Timeouts
from webapp.patterns.fallback.breakers import Breakers
from webapp.patterns.types import Attempt, AttemptLog, Request, Response, StreamChunk

Truncate = Callable[[Request, int | None, str], Awaitable[Request | None]]
"""(request, window in tokens or None for unknown, model) -> the request cut to fit, or None where it cannot be cut."""
Flag = Callable[[str, errors.BackendError], None]
"""(backend's name, what is wrong with it)."""

MISCONFIGURED_PAUSE: Final = 300.0
"""Seconds that a backend with a wrong key, or a model that is not there, is left alone."""
QUOTA_PAUSE: Final = 1800.0
RATE_PAUSE: Final = 5.0
"""Where a 429 does not say how long."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of a chain. Timeouts in seconds, for the backend's own where None; `window` in tokens where known.

    `capabilities` of the model stand above those of the backend. Names that a request may need: `chat`, `completions`, `embeddings`,
    `tools`, `json_schema`, `json_object`, `vision`, `audio`, `logprobs`; a step where one is False is passed over, unknown ones are tried.
    """

    backend: Server
    model: str
    first_token_timeout: float | None = None
    idle_timeout: float | None = None
    window: int | None = None
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    unusable: str = ""
    """Why it must be passed over (disabled, its key is lost), for the trail; empty where it may be called."""
    keys: tuple[str, str] = field(init=False)
    """The keys of its breakers: the backend's, and the model's on it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", (self.backend.name, f"{self.backend.name}/{self.model}"))

    def missing_capabilities(self, needed: set[str]) -> list[str]:
        """Which of these it is known not to have."""
        backends = self.backend.capabilities
        return sorted([name for name in needed if self.capabilities.get(name, backends.get(name)) is False])

    def timeouts(self) -> Timeouts | None:
        if self.first_token_timeout is None and self.idle_timeout is None:
            return None
        return self.backend.timeouts.override(self.first_token_timeout, self.idle_timeout)


class ChainExecution:
    """The state of one request on its way over the steps. Arguments as in `fallback.Chain`; `request` may be replaced between runs."""

    def __init__(
        self,
        name: str,
        steps: Sequence[Step],
        request: Request,
        trail: AttemptLog,
        *,
        breakers: Breakers,
        budget: float,
        truncate: Truncate | None,
        on_flag: Flag | None,
    ) -> None:
        self.request = request
        self.trail = trail
        self.breakers = breakers
        self.on_flag = on_flag
        self.alone = len(steps) == 1
        self._name = name
        self._queue = deque(steps)
        self._budget = budget
        self._truncate = truncate
        self._needed = needs(request)
        self._failures: list[tuple[Step, errors.BackendError]] = []
        self._waits: dict[Step, float] = {}
        self._incapable: list[str] = []
        self._overflowed: Step | None = None
        self._window: int | None = None

    @property
    def has_more(self) -> bool:
        """Whether steps are left."""
        return bool(self._queue)

    def candidate(self) -> StepCall | None:
        """The next step that may be called now; those passed over are noted in the trail."""
        while self._queue:
            step = self._queue.popleft()
            why = self._objection(step)
            if why is None:
                return StepCall(self, step)
            attempt = Attempt(step.backend.name, step.model, "skipped", why, base_url=step.backend.base_url, duration_ms=0.0)
            self.trail.add(attempt)
        return None

    async def next(self) -> StepCall:
        """The next step that may be called, after a cut or a wait where these help.

        Raises:
            PatternError: nothing is left to try.
        """
        while True:
            run = self.candidate()
            if run is not None:
                return run
            if not (await self._cut() or await self._wait()):
                raise self._verdict() from (self._failures[-1][1] if self._failures else None)

    def failed(self, step: Step, error: errors.BackendError) -> None:
        """Note a failure; a request that is itself at fault ends the walk here."""
        if not error.try_next:
            raise error
        self._failures.append((step, error))
        if isinstance(error, errors.RateLimited):
            self._waits[step] = RATE_PAUSE if error.retry_after is None else error.retry_after
        elif isinstance(error, errors.Conflict) and not self._conflicted_before(step):
            self._queue.appendleft(step)
        elif isinstance(error, errors.ContextOverflow):
            self._overflow(step, error)

    def _conflicted_before(self, step: Step) -> bool:
        return sum(1 for tried, error in self._failures if tried is step and isinstance(error, errors.Conflict)) > 1

    def _overflow(self, step: Step, error: errors.ContextOverflow) -> None:
        window = step.window or error.window
        if self._overflowed is None or (window or 0) > (self._window or 0):
            self._overflowed, self._window = step, window

    def _objection(self, step: Step) -> str | None:
        """Why the step is passed over; None where it may be called, and then its breakers are acquired."""
        if step.unusable:
            return step.unusable
        lacking = step.missing_capabilities(self._needed)
        if lacking:
            self._incapable.append(f"{step.backend.name}: no {', '.join(lacking)}")
            return f"It cannot do: {', '.join(lacking)}."
        if self._overflowed and self._window and step is not self._overflowed and step.window and step.window <= self._window:
            return f"Its window of {step.window} tokens is too small as well."
        acquired: list[str] = []
        for key in step.keys:
            health = self.breakers.acquire(key)
            if health is not None:
                for held in acquired:
                    self.breakers.released(held)
                self._waits[step] = health.seconds
                return f"Not called for another {health.seconds:.0f} s: {health.why or health.state}"
            acquired.append(key)
        return None

    async def _cut(self) -> bool:
        """Shorten the request, once, for the largest window that it overflowed."""
        step, truncate = self._overflowed, self._truncate
        if step is None or truncate is None or not self.request.may_truncate:
            return False
        self._truncate = None
        cut = await truncate(self.request, self._window, step.model)
        if cut is None:
            return False
        self.request = cut
        self._queue.append(step)
        return True

    async def _wait(self) -> bool:
        """Wait for the step that may be called first, where the budget allows."""
        limited = {step: seconds for step, seconds in self._waits.items() if self._is_rate_limited(step)}
        if not limited:
            return False
        step = min(limited, key=lambda step: limited[step])
        seconds = limited[step]
        if seconds > self._budget:
            return False
        self._budget -= max(seconds, 0.05)
        await asyncio.sleep(seconds + 0.001)
        self._waits.pop(step)
        self._queue.append(step)
        return True

    def _is_rate_limited(self, step: Step) -> bool:
        return all(self.breakers.health(key).state in {"closed", "cooling"} for key in step.keys)

    def _verdict(self) -> errors.PatternError:
        """The error for the caller, once nothing is left to try."""
        kinds = {type(error) for _, error in self._failures}
        if self._waits and kinds <= {errors.RateLimited}:
            wait = min(self._waits.values())
            message = f"No backend of {self._name!r} may be called now; the first may again in {wait:.0f} s. {self._told()}"
            return errors.AllCooling(message.strip(), attempts=self.trail.attempts, retry_after=wait)
        if kinds and kinds <= {errors.ContextOverflow, errors.CapabilityMissing} and not self._waits:
            return self._failures[-1][1]
        if not kinds and self._incapable:
            return errors.CapabilityMissing(f"No backend of {self._name!r} can do this. {'; '.join(self._incapable)}", status=400)
        cause = self._failures[-1][1] if self._failures else None
        wait_or_none = min(self._waits.values(), default=None)
        message = f"No backend of {self._name!r} could answer. {self._told()}"
        return errors.AllFailed(message, cause=cause, attempts=self.trail.attempts, retry_after=wait_or_none)

    def _told(self) -> str:
        tried = [a for a in self.trail.attempts if a.outcome in {"failed", "skipped", "partial"}]
        return "; ".join(f"{a.backend}/{a.model}: {a.why}" for a in tried[-8:])


class StepCall:
    """One call of one step. A context: leaving it closes the stream and frees the breakers."""

    def __init__(self, walk: ChainExecution, step: Step) -> None:
        self._walk = walk
        self.step = step
        self._told = False
        self._trail = _StepTrail(walk.trail)
        self._stream: AsyncGenerator[StreamChunk, None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._stream is not None:
                await self._stream.aclose()
        finally:
            if not self._told:
                self._release()

    async def send(self) -> Response:
        """The whole answer."""
        return await self.step.backend.send(self._request(), trail=self._trail, timeouts=self.step.timeouts())

    async def first(self) -> StreamChunk:
        """Open the stream; its first packet."""
        self._stream = self.step.backend.stream(self._request(), trail=self._trail, timeouts=self.step.timeouts())
        packet = await anext(self._stream, None)
        if packet is None:
            raise errors.BadAnswer("The stream was empty.")
        return packet

    def rest(self) -> AsyncGenerator[StreamChunk, None]:
        """The packets after the first."""
        assert self._stream is not None, "first() opens the stream"
        return self._stream

    def succeeded(self) -> None:
        self._told = True
        for key in self.step.keys:
            self._walk.breakers.succeeded(key)

    def failed(self, error: errors.BackendError) -> None:
        """Tell the breakers and the walk; raises the error where no other step may be tried."""
        self._tell(error)
        self._walk.failed(self.step, error)

    def broke(self, error: errors.StreamBroken) -> None:
        """A failure after the first content."""
        self._tell(error)

    def lost(self) -> None:
        """Another step spoke first (hedging)."""
        for attempt in self._trail.attempts:
            attempt.outcome, attempt.why = "skipped", "Another step spoke first."
            self._walk.trail.changed(attempt)

    def _tell(self, error: errors.BackendError) -> None:
        self._told = True
        breakers, (backend, model) = self._walk.breakers, self.step.keys
        if isinstance(error, errors.Unreachable | errors.ConnectTimedOut):
            breakers.released(model)
            breakers.failed(backend, error.message)
            return
        if error.counts:
            breakers.succeeded(backend)
            breakers.failed(model, error.message)
            return
        self._release()
        self._cool(error)

    def _cool(self, error: errors.BackendError) -> None:
        breakers, (backend, model) = self._walk.breakers, self.step.keys
        if isinstance(error, errors.RateLimited):
            breakers.cool(model, RATE_PAUSE if error.retry_after is None else error.retry_after, error.message)
        elif isinstance(error, errors.QuotaExhausted):
            breakers.cool(backend, max(QUOTA_PAUSE, error.retry_after or 0), error.message)
        elif isinstance(error, errors.AuthenticationFailed):
            breakers.cool(backend, MISCONFIGURED_PAUSE, error.message)
        elif isinstance(error, errors.ModelMissing) and not self._walk.alone:
            # Where there is no other step, asking again costs nothing and "no such model" says more than "not now".
            breakers.cool(model, MISCONFIGURED_PAUSE, error.message)
        if error.flag and self._walk.on_flag:
            self._walk.on_flag(backend, error)

    def _release(self) -> None:
        self._told = True
        for key in self.step.keys:
            self._walk.breakers.released(key)

    def _request(self) -> Request:
        return self._walk.request.with_options(model=self.step.model)


class _StepTrail(AttemptLog):
    """The attempts of one step, which are also the request's."""

    def __init__(self, whole: AttemptLog) -> None:
        super().__init__(whole.changed)
        self._whole = whole

    def add(self, attempt: Attempt) -> Attempt:
        self.attempts.append(attempt)
        return self._whole.add(attempt)


def needs(request: Request) -> set[str]:
    """The capabilities that a request calls for (`Step`)."""
    body = request.body
    needed = {"chat" if request.path == "chat/completions" else request.path}
    if body.get("tools") or body.get("functions"):
        needed.add("tools")
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") in {"json_schema", "json_object"}:
        needed.add(wanted["type"])
    if body.get("logprobs"):
        needed.add("logprobs")
    for message in body.get("messages") or ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, list):
            needed |= _media(content)
    return needed


def _media(content: list[Any]) -> set[str]:
    kinds = {part.get("type") for part in content if isinstance(part, dict)}
    return {need for kind, need in (("image_url", "vision"), ("input_audio", "audio")) if kind in kinds}
