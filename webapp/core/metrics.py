"""Collect Prometheus metrics of this process. Counters are updated by events; gauges are read at each scrape.

Each web process is a separate target for Prometheus. Processes share no metrics.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

    from webapp.patterns.types import Attempt

Source = Callable[[], Iterable[tuple[str, str, dict[str, str], float]]]
"""Yield (name, help, labels, value) of gauges."""

_sources: list[Source] = []
MAX_MODELS = 1000
FIRST_TOKEN_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


def register(source: Source) -> None:
    """Register a source of gauges, called at each scrape. It must not use the database."""
    _sources.append(source)


def observe(attempt: Attempt, *, source: str) -> None:
    """Count one attempt of a request from `source` (chat, gateway, batch, search)."""
    meters = _meters()
    model = meters.label(attempt.backend, attempt.model)
    labels = (attempt.backend, model, source)
    meters.attempts.labels(*labels, attempt.outcome).inc()
    meters.tokens.labels(*labels, "prompt").inc(attempt.usage.prompt_tokens)
    meters.tokens.labels(*labels, "completion").inc(attempt.usage.completion_tokens)
    if attempt.first_token_ms is not None:
        meters.first_token.labels(attempt.backend, model).observe(attempt.first_token_ms / 1000)


def exposition() -> bytes:
    """Return all metrics as Prometheus text."""
    from prometheus_client import generate_latest

    return generate_latest(_meters().registry)


class _Meters:
    """Hold the counters. Created on first use, because importing prometheus_client slows the start."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Histogram, PlatformCollector, ProcessCollector

        self.registry: CollectorRegistry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.attempts = Counter(
            "patchbay_attempts", "Steps tried, by outcome.", ["backend", "model", "source", "outcome"], registry=self.registry
        )
        self.tokens = Counter("patchbay_tokens", "Tokens by kind.", ["backend", "model", "source", "kind"], registry=self.registry)
        self.first_token = Histogram(
            "patchbay_first_token_seconds",
            "Time to the first token of an attempt.",
            ["backend", "model"],
            buckets=FIRST_TOKEN_BUCKETS,
            registry=self.registry,
        )
        self.registry.register(_Gauges())
        self._seen: set[tuple[str, str]] = set()

    def label(self, backend: str, model: str) -> str:
        """Return the model, or `other` beyond MAX_MODELS: callers can invent names, and each name stays in memory."""
        if len(self._seen) < MAX_MODELS:
            self._seen.add((backend, model))
        return model if (backend, model) in self._seen else "other"


class _Gauges:
    """Collect gauges from the registered sources."""

    def collect(self) -> Iterable[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        families: dict[str, GaugeMetricFamily] = {}
        for source in _sources:
            for name, documentation, labels, value in source():
                family = families.setdefault(name, GaugeMetricFamily(name, documentation, labels=list(labels)))
                family.add_metric(list(labels.values()), value)
        return families.values()


@cache
def _meters() -> _Meters:
    return _Meters()
