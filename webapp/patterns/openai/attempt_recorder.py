"""Record the attempt of one call while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from webapp.patterns.errors import BackendError, PatternError
from webapp.patterns.openai import usage_estimate
from webapp.patterns.openai.decoder import read_usage
from webapp.patterns.types import NO_USAGE, Attempt, AttemptLog, Response, StreamChunk, Usage

_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices per million tokens, in any currency. `cached` is for prompt tokens from the server's cache; None for the regular price."""

    input: float = 0.0
    output: float = 0.0
    cached: float | None = None

    def cost(self, usage: Usage) -> float:
        """Return the cost of these tokens."""
        cached = min(usage.cached_tokens, usage.prompt_tokens)
        cached_price = self.input if self.cached is None else self.cached
        return ((usage.prompt_tokens - cached) * self.input + cached * cached_price + usage.completion_tokens * self.output) / _MILLION


PricesByModel = Mapping[str, Prices]


class Recorder:
    """A context around one call that records first token, usage, cost, and outcome.

    Attributes:
        complete: whether the server has sent its whole answer. A client that leaves afterwards cancels nothing.
    """

    def __init__(self, attempt: Attempt, trail: AttemptLog | None, prices: Prices | None) -> None:
        self.attempt = attempt
        self._trail = trail or AttemptLog()
        self._prices = prices
        self._began = time.perf_counter()
        self._said = usage_estimate.StreamUsageEstimator()
        self.spoke = False
        self.complete = False

    def __enter__(self) -> Self:
        self._trail.add(self.attempt)
        if self._trail.answer:
            self._trail.answer.clear()  # the text of an attempt that failed
        return self

    def saw(self, packet: StreamChunk) -> None:
        """Record the first token's time and the usage of a chunk."""
        if packet.content_type and not self.spoke:
            self.first_token()
        for delta in packet.deltas:
            if delta.usage:
                self.attempt.usage = delta.usage
            self._said.add(delta)
            if self._trail.answer is not None and delta.text and not delta.choice:
                self._trail.answer.append(delta.text)
            if not self.spoke and delta.has_content:
                self.first_token()

    def whole(self, answer: Response) -> None:
        """Record an answer that arrived at once. The time of its first token is unknown."""
        self.attempt.usage = answer.usage or read_usage(answer.body) or usage_estimate.whole(self.attempt.request or {}, answer)
        self.spoke = True
        if self._trail.answer is not None:
            self._trail.answer.append(answer.text if not answer.content_type and answer.body.get("choices") else "")

    def first_token(self) -> None:
        """Record the time to the first token."""
        self.spoke = True
        self.attempt.first_token_ms = self._elapsed()
        self._trail.changed(self.attempt)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        attempt = self.attempt
        attempt.duration_ms = self._elapsed()
        left = isinstance(error, GeneratorExit | asyncio.CancelledError)
        if error is None or (left and self.complete):
            attempt.outcome = "ok"
        elif left:
            attempt.outcome = "cancelled"
        else:
            attempt.outcome = "partial" if self.spoke else "failed"
            attempt.error = type(error).__name__
            attempt.why = error.message if isinstance(error, PatternError) else type(error).__name__
            attempt.status = error.status if isinstance(error, BackendError) else None
            attempt.detail = error.detail if isinstance(error, BackendError) else ""
        if self.spoke and attempt.usage == NO_USAGE:
            attempt.usage = usage_estimate.streamed(attempt.request or {}, self._said)
        if self._prices and attempt.usage != NO_USAGE:
            attempt.cost = self._prices.cost(attempt.usage)
        self._trail.changed(attempt)

    def _elapsed(self) -> float:
        return round((time.perf_counter() - self._began) * 1000, 3)
