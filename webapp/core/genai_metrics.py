"""Export OpenTelemetry metrics by the GenAI semantic conventions, if the extra is installed and an exporter is configured.

Each attempt is an operation of a GenAI client (https://github.com/open-telemetry/semantic-conventions-genai):

- `gen_ai.client.operation.duration`: seconds until the end of the answer, with `error.type` where it failed;
- `gen_ai.client.operation.time_to_first_chunk`: seconds, for streamed answers;
- `gen_ai.client.token.usage`: tokens, by `gen_ai.token.type`, where the server reported them.

The bounds of the buckets are those of the conventions.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from webapp.core.tracing import OPERATIONS

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter
    from opentelemetry.sdk.metrics import MeterProvider

    from webapp.patterns.types import Attempt

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT")
SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
TOKENS: Final = tuple(4**power for power in range(14))
MAX_MODELS: Final = 1000


@cache
def is_on() -> bool:
    """Return whether an exporter is configured. Cached, because every request asks."""
    return any(os.environ.get(name) for name in ENDPOINTS) and os.environ.get("OTEL_METRICS_EXPORTER") != "none"


class Instruments:
    """The histograms of one meter."""

    def __init__(self, meter: Meter) -> None:
        self._duration = meter.create_histogram(
            "gen_ai.client.operation.duration", "s", "GenAI operation duration.", explicit_bucket_boundaries_advisory=SECONDS
        )
        self._first_chunk = meter.create_histogram(
            "gen_ai.client.operation.time_to_first_chunk",
            "s",
            "Time to receive the first chunk of a streamed answer.",
            explicit_bucket_boundaries_advisory=SECONDS,
        )
        self._tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=[float(bound) for bound in TOKENS],
        )
        self._models: set[tuple[str, str]] = set()

    def observe(self, attempts: Sequence[Attempt], *, endpoint: str) -> None:
        """Record the attempts of a request that was sent. Skipped steps sent nothing."""
        for attempt in attempts:
            if attempt.outcome != "skipped":
                self._observe(attempt, OPERATIONS.get(endpoint, endpoint))

    def _observe(self, attempt: Attempt, operation: str) -> None:
        attributes = {
            "gen_ai.operation.name": operation,
            "gen_ai.provider.name": attempt.backend,
            "gen_ai.request.model": self._label(attempt),
        }
        if attempt.first_token_ms is not None:
            self._first_chunk.record(attempt.first_token_ms / 1000, attributes)
        if not attempt.usage.estimated:  # the conventions forbid guesses
            for kind, count in (("input", attempt.usage.prompt_tokens), ("output", attempt.usage.completion_tokens)):
                if count:
                    self._tokens.record(count, {**attributes, "gen_ai.token.type": kind})
        if attempt.error:
            attributes["error.type"] = attempt.error
        if attempt.duration_ms is not None:
            self._duration.record(attempt.duration_ms / 1000, attributes)

    def _label(self, attempt: Attempt) -> str:
        """Return the model, or `other` beyond MAX_MODELS: callers can invent names, and each name stays in memory."""
        if len(self._models) < MAX_MODELS:
            self._models.add((attempt.backend, attempt.model))
        return attempt.model if (attempt.backend, attempt.model) in self._models else "other"


def observe(attempts: Sequence[Attempt], *, endpoint: str) -> None:
    """Record the attempts of one finished request, if metrics are on."""
    if is_on():
        instruments().observe(attempts, endpoint=endpoint)


@cache
def provider() -> MeterProvider:
    """Return the meter provider of this process, which exports in the background to the configured endpoint."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": "patchbay"})
    return MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter())])


@cache
def instruments() -> Instruments:
    """Return the histograms of this process."""
    return Instruments(provider().get_meter("patchbay"))
