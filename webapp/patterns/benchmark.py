"""Measure a backend: time to first token, tokens/s and latency at a given concurrency, bounded in requests and time.

    report = await measure(backend, Request.chat([...], model="gpt-4o"), requests=20, concurrency=4)
    report.first_token_ms.p50, report.tokens_per_second

Tokens are those that the server reports; where it reports none they are counted here, and `exact` is False.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from webapp.patterns.backend import Backend
from webapp.patterns.batch.parallel import NEVER, run
from webapp.patterns.errors import PatternError
from webapp.patterns.tokens.counting import acount_text
from webapp.patterns.types import Request


@dataclass(frozen=True, slots=True)
class Sample:
    """One streamed answer. Times are in milliseconds; `error` is empty for a complete answer."""

    first_token_ms: float | None
    duration_ms: float
    tokens: int
    exact: bool = True
    error: str = ""
    message: str = ""

    @property
    def tokens_per_second(self) -> float | None:
        """Return the rate after the first token; None without enough tokens."""
        if self.error or self.first_token_ms is None or self.tokens < 2 or self.duration_ms <= self.first_token_ms:
            return None
        return (self.tokens - 1) / (self.duration_ms - self.first_token_ms) * 1000


@dataclass(frozen=True, slots=True)
class Percentiles:
    """Percentiles of the successful samples; None without any."""

    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, values: Sequence[float]) -> Percentiles:
        """Return nearest-rank percentiles, so that each is a measured value."""
        ordered = sorted(values)
        if not ordered:
            return cls(None, None, None, None)
        return cls(*(ordered[-(-len(ordered) * percent // 100) - 1] for percent in (50, 90, 95, 99)))


@dataclass(frozen=True, slots=True)
class Report:
    """The measurements. `unfinished` requests were cut off by the time limit. `seconds` is the whole run without the warm-up."""

    concurrency: int
    seconds: float
    answered: int
    failed: int
    unfinished: int
    tokens: int
    exact: bool
    first_token_ms: Percentiles
    duration_ms: Percentiles
    stream_tokens_per_second: Percentiles
    errors: Mapping[str, int] = field(default_factory=dict)

    @property
    def tokens_per_second(self) -> float:
        """Return the rate of all streams together."""
        return self.tokens / self.seconds if self.seconds else 0.0

    @property
    def requests_per_second(self) -> float:
        """Return the answered requests a second."""
        return self.answered / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Progress:
    """The state after each answer: the number of finished requests, and the latest sample."""

    done: int
    requests: int
    sample: Sample


async def measure(
    backend: Backend,
    request: Request,
    *,
    requests: int = 20,
    concurrency: int = 4,
    seconds: float = 60.0,
    warm_up: int = 1,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Callable[[], float] = time.perf_counter,
) -> Report:
    """Send `requests` copies of a request, at most `concurrency` at once, for at most `seconds` in total, including the warm-up.

    Errors of the backend are counted and not raised. Nothing is retried.
    """
    samples: list[Sample] = []
    started = [0]
    began = clock()

    async def once(_: int) -> Sample:
        started[0] += 1
        return await take_sample(backend, request, clock)

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            for number in range(warm_up):
                await once(number)
            started[0], began = 0, clock()
            async with contextlib.aclosing(run(range(requests), once, concurrency=concurrency, ordered=False, retry=NEVER)) as results:
                async for result in results:
                    samples.append(result.unwrap())
                    if on_progress:
                        on_progress(Progress(len(samples), requests, samples[-1]))
    return _report(samples, concurrency, clock() - began, started[0] - len(samples))


async def take_sample(backend: Backend, request: Request, clock: Callable[[], float] = time.perf_counter) -> Sample:
    """Stream one answer and time it. An error of the backend becomes part of the sample."""
    began = clock()
    first: float | None = None
    reported: int | None = None
    text: list[str] = []
    error: PatternError | None = None
    try:
        async with contextlib.aclosing(backend.stream(request)) as packets:
            async for packet in packets:
                for delta in packet.deltas:
                    if first is None and delta.has_content:
                        first = clock()
                    text += (delta.text, delta.reasoning, delta.refusal, *(call.arguments for call in delta.tool_calls))
                    if delta.usage and delta.usage.completion_tokens:
                        reported = delta.usage.completion_tokens
    except PatternError as caught:
        error = caught
    duration = (clock() - began) * 1000
    tokens = reported if reported is not None else await acount_text("".join(text), str(request.body.get("model") or ""))
    return Sample(
        None if first is None else (first - began) * 1000,
        duration,
        tokens,
        exact=reported is not None,
        error=type(error).__name__ if error else "",
        message=error.message if error else "",
    )


def _report(samples: Sequence[Sample], concurrency: int, seconds: float, unfinished: int) -> Report:
    answered = [sample for sample in samples if not sample.error]
    return Report(
        concurrency=concurrency,
        seconds=seconds,
        answered=len(answered),
        failed=len(samples) - len(answered),
        unfinished=unfinished,
        tokens=sum(sample.tokens for sample in answered),
        exact=all(sample.exact for sample in answered),
        first_token_ms=Percentiles.of([sample.first_token_ms for sample in answered if sample.first_token_ms is not None]),
        duration_ms=Percentiles.of([sample.duration_ms for sample in answered]),
        stream_tokens_per_second=Percentiles.of([pace for sample in answered if (pace := sample.tokens_per_second) is not None]),
        errors=dict(Counter(sample.error for sample in samples if sample.error)),
    )
