"""Make ordered backends answer as one.

Each failure leads to the action below (`errors.BackendError`, docs/fallback.md):

| failure                                       | scope   | action                                                                     |
|-----------------------------------------------|---------|----------------------------------------------------------------------------|
| Unreachable, ConnectTimedOut                  | backend | next step; counts against the backend                                      |
| TimedOut, ServerFailed, BadAnswer             | model   | next step; counts against the model                                        |
| Loading                                       | moment  | next step; the model waits for Retry-After                                 |
| RateLimited                                   | moment  | next step; the model waits; on the last step, wait once where time allows  |
| QuotaExhausted, AuthenticationFailed          | account | next step; the model pauses, with a second model the backend; flagged      |
| ModelMissing                                  | model   | next step; the model pauses                                                |
| ContextOverflow                               | request | next step with a larger window; else cut once and try again                |
| CapabilityMissing, ParameterRefused           | request | next capable step                                                          |
| Unaffordable, RequestOverRate, PathMissing, Forbidden | request | next step; no pause                                                |
| Conflict                                      | moment  | once more, then the next step                                              |
| BodyTooLarge                                  | request | next step that has accepted as many bytes; else to the caller              |
| RequestRejected, ContentRefused               | request | to the caller                                                              |
| StreamBroken                                  | model   | the mid-stream policy                                                      |
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, MutableMapping, Sequence
from typing import Literal

from webapp.patterns import errors
from webapp.patterns.fallback.balancing import LoadBalancer
from webapp.patterns.fallback.breakers import Breakers
from webapp.patterns.fallback.execution import ChainExecution, Flag, Step, StepCall, Truncate
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import AttemptLog, ModelInfo, Request, Response, StreamChunk

__all__ = ["Chain", "MidStream", "Step"]

MidStream = Literal["stop", "restart", "continue"]
LEAST_ANSWER = 256
"""Tokens that must be left for the answer for its limit to be lowered in place of omitting turns."""
RESERVE = 1024
"""Tokens reserved for the answer if the request states no limit."""
GO_ON = "Your answer was cut off. Continue it exactly where it stopped: repeat nothing, and do not comment on the interruption."


async def cut_to_window(request: Request, window: int | None, model: str) -> Request | None:
    """Omit the oldest turns (`patterns.context`) so that a conversation that a server found too long fits.

    Where only the limit of the answer is too high for the window, the limit is lowered and the conversation stays. If the window is
    unknown, or should hold both by our count, three quarters of the conversation's size are assumed.
    """
    from webapp.patterns.context.fitting import afit

    messages = request.messages
    if not messages:
        return None
    tools = request.body.get("tools") or ()
    before = (await afit(messages, window=None, model=model, tools=tools)).report.before
    wanted = _answer_limit(request)
    room = window - before * 11 // 10 if window else 0  # our count may be lower than the server's
    if window and wanted > window - before and room >= LEAST_ANSWER:
        return _with_answer_limit(request, room)
    window = min(window or before, before) * 3 // 4 if not window or before <= window else window
    reserve = min(wanted or RESERVE, window // 2)
    try:
        fitted = await afit(messages, window=window, reserve=reserve, model=model, tools=tools)
    except errors.InputError:
        return None
    return None if fitted.report.untouched else _with_answer_limit(request.with_messages(fitted.messages), reserve)


def _answer_limit(request: Request) -> int:
    """Return the longest answer that a request asks for, in tokens; 0 where it does not say."""
    wanted = request.body.get("max_completion_tokens") or request.body.get("max_tokens")
    return wanted if isinstance(wanted, int) and wanted > 0 else 0


def _with_answer_limit(request: Request, limit: int) -> Request:
    """Return the request with its limit of the answer lowered to `limit` tokens, where it has a higher one."""
    names = ("max_completion_tokens", "max_tokens")
    higher = [name for name in names if isinstance(request.body.get(name), int) and request.body[name] > limit]
    return request.with_options(**dict.fromkeys(higher, limit)) if higher else request


class Chain:
    """A Backend over ordered steps, with one retry loop for all of them.

    Args:
        name: the model name that callers use.
        steps: tried in order; at least one.
        breakers: shared by all chains of the process.
        mid_stream: what to do when a stream breaks after its first content. "stop" raises `StreamBroken`; "restart" starts again on the
            next step; "continue" lets the next step continue the partial answer (never after a tool call has begun). `StreamChunk.switch`
            tells the consumer once another step answers. If none does, the partial answer stays and `StreamBroken` is raised.
        hedge_ms: start the next step if no content arrives within this time. The first to answer wins, and the others are closed.
        budget_seconds: total time that a request may wait for a rate-limited step.
        truncate: truncates a request that is too long for every window.
        on_flag: called for backends that need an administrator.
        balancer: shares the load among the steps of a group; without one, the steps are tried in their order.
        caller: the user of the request. Failures of only one caller open no breaker for others. Empty for Patchbay itself.
        on_start: called with the log of each request before its first attempt.
    """

    def __init__(
        self,
        name: str,
        steps: Sequence[Step],
        *,
        breakers: Breakers,
        mid_stream: MidStream = "stop",
        hedge_ms: float | None = None,
        budget_seconds: float = 20.0,
        truncate: Truncate | None = cut_to_window,
        on_flag: Flag | None = None,
        caller: str = "",
        balancer: LoadBalancer | None = None,
        on_start: Callable[[AttemptLog], None] | None = None,
    ) -> None:
        if not steps:
            raise ValueError(f"the chain {name!r} has no steps")
        self.name = name
        self.steps = tuple(steps)
        self.mid_stream = mid_stream
        self.hedge_ms = hedge_ms
        self._on_start = on_start
        self._new_walk: Callable[[Request, AttemptLog], ChainExecution] = lambda request, trail: ChainExecution(
            name,
            self.steps,
            request,
            trail,
            breakers=breakers,
            budget=budget_seconds,
            truncate=truncate,
            on_flag=on_flag,
            caller=caller,
            balancer=balancer,
        )

    def _walk(self, request: Request, trail: AttemptLog | None) -> ChainExecution:
        trail = AttemptLog() if trail is None else trail
        if self._on_start:
            self._on_start(trail)
        return self._new_walk(request, trail)

    @property
    def window(self) -> int | None:
        """Return the largest known window of the steps, in tokens."""
        return max((step.window for step in self.steps if step.window), default=None)

    @property
    def primary_model(self) -> str:
        """Return the first step's model id."""
        return self.steps[0].model

    async def models(self) -> list[ModelInfo]:
        """Return the chain itself under its name."""
        return [ModelInfo(self.name, self.window, "patchbay")]

    async def aclose(self) -> None:
        """Do nothing, because the creator of the backends closes them."""

    async def send(self, request: Request, *, trail: AttemptLog | None = None) -> Response:
        """Return the complete answer of the first step that gives one.

        Raises:
            AllFailed, AllCooling: no step answered.
            RequestRejected, ContextOverflow, CapabilityMissing: the request is at fault.
        """
        walk = self._walk(request, trail)
        while True:
            async with await walk.next() as run:
                try:
                    answer = await run.send()
                except errors.BackendError as error:
                    run.failed(error)
                else:
                    run.succeeded()
                    return answer

    async def stream(self, request: Request, *, trail: AttemptLog | None = None) -> AsyncGenerator[StreamChunk, None]:
        """Stream from the first step that answers. Raises the errors of `send`, and `StreamBroken` after the first content."""
        walk = self._walk(request, trail)
        partial = Accumulator() if self.mid_stream == "continue" else None
        asked: Request | None = None
        broken: errors.StreamBroken | None = None
        while True:
            try:
                run, packet = await self._speaking(walk)
            except errors.PatternError as error:
                if broken is None:
                    raise
                raise broken from error
            asked = asked or walk.request
            async with run:
                try:
                    if broken:  # without any text so far, an answer can only restart
                        yield StreamChunk(b"", (), switch="continue" if partial and partial.text else "restart")
                    _note(partial, packet)
                    yield packet
                    async for packet in run.rest():
                        _note(partial, packet)
                        yield packet
                    run.succeeded()
                    return
                except errors.StreamBroken as error:
                    broken = error
                    run.broke(broken)
                    if self.mid_stream == "stop" or not walk.has_more or not _may_continue(partial):
                        raise
            if partial and partial.text:
                walk.request = _continued(asked, partial.text)

    async def _speaking(self, walk: ChainExecution) -> tuple[StepCall, StreamChunk]:
        """Return the first call that has content, with its first chunk."""
        if self.hedge_ms is not None:
            return await self._hedged(walk, self.hedge_ms / 1000)
        while True:
            run = await walk.next()
            try:
                return run, await run.first()
            except errors.BackendError as error:
                async with run:
                    run.failed(error)
            except BaseException:
                async with run:
                    raise

    async def _hedged(self, walk: ChainExecution, delay: float) -> tuple[StepCall, StreamChunk]:
        """Return the same as `_speaking`, and start one more step each time no step answers within `delay` seconds."""
        racing: dict[asyncio.Task[StreamChunk], StepCall] = {}
        try:
            while True:
                run = walk.candidate() or (None if racing else await walk.next())
                if run:
                    racing[asyncio.ensure_future(run.first())] = run
                done, _ = await asyncio.wait(racing, timeout=delay if walk.has_more else None, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    run = racing.pop(task)
                    packet = await self._result(task, run)
                    if packet:
                        try:
                            await _close(racing)
                        except BaseException:  # cancelled meanwhile, so the winner is closed too
                            async with run:
                                raise
                        return run, packet
        finally:
            await _close(racing)

    async def _result(self, task: asyncio.Task[StreamChunk], run: StepCall) -> StreamChunk | None:
        """Return the first chunk of a call that answered; None for a failed one."""
        try:
            return await task
        except errors.BackendError as error:
            async with run:
                run.failed(error)
            return None


async def _close(racing: MutableMapping[asyncio.Task[StreamChunk], StepCall]) -> None:
    """Close the calls that lost, and remove them."""
    for task in racing:
        task.cancel()
    await asyncio.gather(*racing, return_exceptions=True)
    while racing:
        async with racing.popitem()[1] as run:
            run.lost()


def _note(partial: Accumulator | None, packet: StreamChunk) -> None:
    if partial is not None:
        partial.add_packet(packet)


def _may_continue(partial: Accumulator | None) -> bool:
    """Return whether another step can continue (or restart): never under "continue" after a tool call has begun."""
    return partial is None or not partial.tool_calls


def _continued(request: Request, text: str) -> Request:
    """Return the request that continues a partial answer."""
    said = [{"role": "assistant", "content": text}, {"role": "user", "content": GO_ON}]
    return request.with_messages([*request.messages, *said])
