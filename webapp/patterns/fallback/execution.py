"""Execute one request over the steps of a chain: choose the next step, apply the consequence of each failure, and end.

The consequences of a failure follow only from the attributes of its error (`errors.BackendError`): scope, count, pause.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, Self

from webapp.patterns import errors
from webapp.patterns.backend import Server, Timeouts
from webapp.patterns.fallback.balancing import LoadBalancer, session_of
from webapp.patterns.fallback.breakers import Breakers, Origin
from webapp.patterns.types import Attempt, AttemptLog, Request, Response, StreamChunk
from webapp.patterns.units import duration

Truncate = Callable[[Request, int | None, str], Awaitable[Request | None]]
"""(request, window in tokens or None if unknown, model) -> the truncated request, or None if it cannot be truncated."""
Flag = Callable[[str, errors.BackendError], None]
"""(backend's name, the error that an administrator must see)."""

_LONG_TEXT: Final = 16_000
"""Characters from which a request counts as long."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One step of a chain. Timeouts are in seconds; None for the backend's own. `window` is in tokens, if known.

    `capabilities` of the model override those of the backend. Names of capabilities: `chat`, `completions`, `embeddings`, `tools`,
    `json_schema`, `json_object`, `vision`, `audio`, `logprobs`. A step with False for a required one is skipped; unknown ones are tried.
    """

    backend: Server
    model: str
    first_token_timeout: float | None = None
    idle_timeout: float | None = None
    window: int | None = None
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    group: int = 0
    """Neighboring steps of one group share the load (`fallback.balancing`)."""
    weight: int = 1
    """The step's share of its group's load."""
    spills: bool = True
    """Whether a full backend before this step sends its requests here. The built-in model only stands in for failures."""
    unusable: str = ""
    """The reason to skip it (disabled, lost key), for the attempt log; empty if it may be called."""
    keys: tuple[str, str] = field(init=False)
    """The keys of its breakers: the backend's, and the model's on it."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", (self.backend.name, f"{self.backend.name}/{self.model}"))

    @property
    def is_full(self) -> bool:
        """Whether all places of the backend are taken: another call would wait."""
        return bool(getattr(self.backend, "is_full", False))

    def missing_capabilities(self, needed: set[str]) -> list[str]:
        """Return the capabilities among these that it is known to lack."""
        backends = self.backend.capabilities
        return sorted([name for name in needed if self.capabilities.get(name, backends.get(name)) is False])

    def timeouts(self) -> Timeouts | None:
        """Return the step's own timeouts, or None to use the backend's."""
        if self.first_token_timeout is None and self.idle_timeout is None:
            return None
        return self.backend.timeouts.override(self.first_token_timeout, self.idle_timeout)


class ChainExecution:
    """The state of one request over the steps.

    Arguments are as in `fallback.Chain`. `request` may be replaced between calls.
    """

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
        caller: str = "",
        balancer: LoadBalancer | None = None,
    ) -> None:
        self.request = request
        self.trail = trail
        self.breakers = breakers
        self.on_flag = on_flag
        self.alone = len(steps) == 1
        self._name = name
        self.balancer = balancer or LoadBalancer()
        self.session = session_of(request) if self.balancer.sticky or self.balancer.canary_share else ""
        self._queue = deque(self.balancer.order(steps, self.session) if len(steps) > 1 else steps)
        self._favorite = self._queue[0]
        self._favorite_failed = False
        self._caller = caller
        self._origin: Origin | None = None
        self._budget = budget
        self._waited = False
        self._truncate = truncate
        self._needed = needs(request)
        self._failures: list[tuple[Step, errors.BackendError]] = []
        self._waits: dict[Step, float] = {}
        self._limited: set[Step] = set()
        """The steps whose wait is that of a rate limit."""
        self._incapable: list[str] = []
        self._overflowed: Step | None = None
        self._window: int | None = None

    @property
    def has_more(self) -> bool:
        """Return whether steps are left."""
        return bool(self._queue)

    @property
    def origin(self) -> Origin:
        """The class of requests that the breakers count this one to. It is computed when a breaker needs it: most requests never do."""
        if self._origin is None:
            self._origin = Origin(self._caller, shape_of(self.request, self._needed), digest_of(self.request))
        return self._origin

    def candidate(self) -> StepCall | None:
        """Return the next step that may be called now; note those passed over in the attempt log."""
        while self._queue:
            step = self._take()
            why = self._objection(step)
            if why is None:
                return StepCall(self, step)
            self._note_failure_of(step)
            attempt = Attempt(step.backend.name, step.model, "skipped", why, base_url=step.backend.base_url, duration_ms=0.0)
            self.trail.add(attempt)
        return None

    def _take(self) -> Step:
        """Take the next step off the queue. A full backend lets another one of its group go first, at once."""
        first = self._queue[0]
        if first.is_full:
            for step in self._queue:
                if step.group == first.group and step.spills and not step.is_full and not step.unusable and self._is_open(step):
                    self._queue.remove(step)
                    return step
        return self._queue.popleft()

    def _is_open(self, step: Step) -> bool:
        return all(self.breakers.health(key).state == "closed" for key in step.keys)

    def _note_failure_of(self, step: Step) -> None:
        self._favorite_failed = self._favorite_failed or step is self._favorite

    def answered_by(self, step: Step) -> None:
        """Move the session to the step that answered, where its own step had failed."""
        if self.session and self._favorite_failed and step is not self._favorite:
            self.balancer.pin(self.session, step)

    async def next(self) -> StepCall:
        """Return the next step that may be called, after a cut or a wait where these help.

        Raises:
            PatternError: no step is left.
        """
        while True:
            run = self.candidate()
            if run is not None:
                return run
            if not (await self._cut() or await self._wait()):
                raise self._verdict() from (self._failures[-1][1] if self._failures else None)

    def failed(self, step: Step, error: errors.BackendError) -> None:
        """Note a failure. Raise it where the request itself is wrong."""
        if not error.try_next and not self._accepts_more(error):
            raise error
        self._failures.append((step, error))
        self._note_failure_of(step)
        if error.scope is errors.Scope.MOMENT and error.wait:
            self._waits[step] = error.wait
            if isinstance(error, errors.RateLimited):
                self._limited.add(step)
        elif isinstance(error, errors.Conflict) and not self._conflicted_before(step):
            self._queue.appendleft(step)
        elif isinstance(error, errors.ContextOverflow):
            self._overflow(step, error)

    def _accepts_more(self, error: errors.BackendError) -> bool:
        """Keep only the steps whose servers have accepted a body as large as the refused one; return whether there are any."""
        if not isinstance(error, errors.BodyTooLarge):
            return False
        larger = [step for step in self._queue if getattr(step.backend, "largest_body", 0) >= error.size]
        if larger:
            self._queue = deque(larger)
        return bool(larger)

    def _conflicted_before(self, step: Step) -> bool:
        return sum(1 for tried, error in self._failures if tried is step and isinstance(error, errors.Conflict)) > 1

    def _overflow(self, step: Step, error: errors.ContextOverflow) -> None:
        window = step.window or error.window
        if self._overflowed is None or (window or 0) > (self._window or 0):
            self._overflowed, self._window = step, window

    def _objection(self, step: Step) -> str | None:
        """Return why the step is passed over; None where it may be called, with its breakers acquired."""
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
            health = self.breakers.acquire(key, self.origin) if self.breakers.health(key).state != "closed" else None
            if health is not None:
                for held in acquired:
                    self.breakers.released(held)
                self._waits[step] = health.seconds
                if health.limited:
                    self._limited.add(step)
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
        """Wait once for the step whose pause ends first, where the time allows; say so in the attempt log meanwhile."""
        limited = {step: self._waits[step] for step in self._limited if step in self._waits and self._only_paused(step)}
        if self._waited or not limited:
            return False
        step = min(limited, key=lambda step: limited[step])
        seconds = limited[step]
        if seconds > self._budget:
            return False
        self._waited = True
        self.trail.wait(f"{step.backend.name} · {step.model} is rate limited. Asking again in {seconds:.0f} s")
        try:
            await asyncio.sleep(seconds + 0.001)
        finally:
            self.trail.wait("")
        self._waits.pop(step)
        self._queue.append(step)
        return True

    def _only_paused(self, step: Step) -> bool:
        return all(self.breakers.health(key).state in {"closed", "cooling"} for key in step.keys)

    def _verdict(self) -> errors.PatternError:
        """Return the error for the caller, once no step is left."""
        failures = [error for _, error in self._failures]
        if self._waits and all(error.scope is errors.Scope.MOMENT for error in failures):
            return self._all_paused(failures)
        if failures and not self._waits and all(error.scope is errors.Scope.REQUEST for error in failures):
            return failures[-1]
        if not failures and self._incapable:
            return errors.CapabilityMissing(f"No backend of {self._name!r} can do this. {'; '.join(self._incapable)}", status=400)
        wait_or_none = min(self._waits.values(), default=None)
        message = f"No backend of {self._name!r} could answer. {self._told()}"
        return errors.AllFailed(message, cause=failures[-1] if failures else None, attempts=self.trail.attempts, retry_after=wait_or_none)

    def _all_paused(self, failures: Sequence[errors.BackendError]) -> errors.AllCooling:
        wait = min(self._waits.values())
        limited = self._limited >= self._waits.keys()
        loading = bool(failures) and all(isinstance(error, errors.Loading) for error in failures)
        message = f"{self._name!r} is unavailable for another {duration(wait)}. {self._told()}"
        if loading:
            message = f"{self._name!r} is still loading. Try again in {duration(wait)}. {self._told()}"
        return errors.AllCooling(message.strip(), attempts=self.trail.attempts, retry_after=wait, limited=limited)

    def _told(self) -> str:
        """Return what each step said, the latest eight, each text once."""
        tried = [a for a in self.trail.attempts if a.outcome in {"failed", "skipped", "partial"}]
        texts = dict.fromkeys(f"{a.backend}/{a.model}: {a.why}" for a in tried)
        return "; ".join(list(texts)[-8:])


class StepCall:
    """One call of one step. As a context, it closes the stream and releases the breakers at the end."""

    def __init__(self, walk: ChainExecution, step: Step) -> None:
        self._walk = walk
        self.step = step
        self._told = False
        self._trail = _StepTrail(walk.trail)
        self._stream: AsyncGenerator[StreamChunk, None] | None = None
        self._tracker = walk.balancer.tracker
        self._tracker.started(step)
        self._started = time.monotonic()
        self._running = True

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._stream is not None:
                await self._stream.aclose()
        finally:
            if self._running:
                self._running = False
                self._tracker.ended(self.step)
            if not self._told:
                self._release()

    async def send(self) -> Response:
        """Return the complete answer."""
        answer = await self.step.backend.send(self._request(), trail=self._trail, timeouts=self.step.timeouts())
        self._tracker.answered(self.step, time.monotonic() - self._started)
        self._walk.trail.answer = self._trail.answer
        return answer

    async def first(self) -> StreamChunk:
        """Open the stream and return its first chunk."""
        self._stream = self.step.backend.stream(self._request(), trail=self._trail, timeouts=self.step.timeouts())
        packet = await anext(self._stream, None)
        if packet is None:
            raise errors.BadAnswer("The stream was empty.")
        self._tracker.answered(self.step, time.monotonic() - self._started)
        return packet

    def rest(self) -> AsyncGenerator[StreamChunk, None]:
        """Yield the chunks after the first. From here on, this call is the one that answers."""
        self._walk.trail.answer = self._trail.answer
        assert self._stream is not None, "first() opens the stream"
        return self._stream

    def succeeded(self) -> None:
        """Report a whole answer to the breakers."""
        self._told = True
        self._walk.answered_by(self.step)
        for key in self.step.keys:
            self._walk.breakers.succeeded(key)

    def failed(self, error: errors.BackendError) -> None:
        """Report the failure to the breakers and the execution; raise the error if no other step may be tried."""
        self._tell(error)
        self._walk.failed(self.step, error)

    def broke(self, error: errors.StreamBroken) -> None:
        """Report a failure after the first content."""
        self._tell(error)

    def lost(self) -> None:
        """Report that another step answered first (hedging)."""
        for attempt in self._trail.attempts:
            attempt.outcome, attempt.why = "skipped", "Another step spoke first."
            self._walk.trail.changed(attempt)

    def _tell(self, error: errors.BackendError) -> None:
        """Report a failure to the breakers, as far as its scope reaches."""
        self._told = True
        breakers, (backend, model) = self._walk.breakers, self.step.keys
        if error.counts and error.scope is errors.Scope.BACKEND:
            breakers.released(model)
            breakers.failed(backend, error.message)
        elif error.counts:
            breakers.succeeded(backend)
            breakers.failed(model, error.message, self._walk.origin)
        else:
            self._release()
            self._pause(error)

    def _pause(self, error: errors.BackendError) -> None:
        breakers, (backend, model) = self._walk.breakers, self.step.keys
        # With a single step, a retry is cheap, and the server's own message says more than "not now".
        useless = self._walk.alone and isinstance(error, errors.ModelMissing | errors.Loading)
        if error.scope is errors.Scope.ACCOUNT:
            breakers.close_account(backend, model, error.wait, error.message)
        elif error.scope in {errors.Scope.MOMENT, errors.Scope.MODEL} and error.wait and not useless:
            breakers.cool(model, error.wait, error.message, limited=isinstance(error, errors.RateLimited))
        if (error.flag or isinstance(error, errors.Forbidden)) and self._walk.on_flag:
            self._walk.on_flag(backend, error)

    def _release(self) -> None:
        self._told = True
        for key in self.step.keys:
            self._walk.breakers.released(key)

    def _request(self) -> Request:
        return self._walk.request.with_options(model=self.step.model)


class _StepTrail(AttemptLog):
    """The attempts of one step, which also belong to the request."""

    def __init__(self, whole: AttemptLog) -> None:
        super().__init__(whole.changed)
        self.answer = None if whole.answer is None else []
        self._whole = whole

    def add(self, attempt: Attempt) -> Attempt:
        self.attempts.append(attempt)
        return self._whole.add(attempt)


def needs(request: Request) -> set[str]:
    """Return the capabilities that a request requires (`Step`)."""
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


def shape_of(request: Request, needed: set[str]) -> str:
    """Return the features of a request that a server may fail at, where it answers plain requests: "tools, vision"; empty for none."""
    features = needed - {"chat", "completions", "embeddings"}
    content = request.body.get("messages") or request.body.get("input") or request.body.get("prompt")
    if len(str(content)) > _LONG_TEXT:
        features = features | {"long"}
    return ", ".join(sorted(features)) or "plain"


def digest_of(request: Request) -> str:
    """Return what tells a request from others, whatever model it is sent to."""
    body = {name: value for name, value in request.body.items() if name not in {"model", "stream", "stream_options"}}
    files = request.form.digest if request.form else ""
    return hashlib.blake2b(f"{files}{body!r}".encode("utf-8", "replace"), digest_size=8).hexdigest()
