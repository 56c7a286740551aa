"""Export OpenTelemetry traces, if the extra is installed and OpenTelemetry's variables configure an exporter.

Each request is a span with a child for each attempt, in the GenAI semantic conventions
(https://github.com/open-telemetry/semantic-conventions-genai). Spans are created from the attempt log after a request, so streams pay
nothing. Messages are part of a span only where `OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT` asks for them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from webapp.core import captured_messages

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from webapp.patterns.types import Attempt, AttemptLog

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
OPERATIONS = {"chat/completions": "chat", "completions": "text_completion", "embeddings": "embeddings"}
NANOSECONDS = 1_000_000_000


@cache
def is_on() -> bool:
    """Return whether an exporter is configured. Cached, because every request asks."""
    return any(os.environ.get(name) for name in ENDPOINTS)


@cache
def captures_content() -> bool:
    """Return whether spans carry the messages of requests and answers: off unless asked for, because they are private."""
    wanted = os.environ.get("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "").lower()
    return is_on() and wanted in {"true", "1", "span_only", "span_and_event"}


def keep_answer(trail: AttemptLog) -> None:
    """Ask for the text of a request's answer."""
    if trail.answer is None:
        trail.answer = []


def trace(attempts: Sequence[Attempt], *, source: str, route: str, endpoint: str, request_id: str, answer: str = "") -> None:
    """Export the spans of one finished request, if tracing is on. `answer` is its text, where messages are captured."""
    if attempts and is_on():
        content = captured_messages.attributes_of(attempts[-1].request or {}, answer) if captures_content() else {}
        export(tracer(), attempts, source=source, route=route, endpoint=endpoint, request_id=request_id, content=content)


def export(
    to: Tracer,
    attempts: Sequence[Attempt],
    *,
    source: str,
    route: str,
    endpoint: str,
    request_id: str,
    content: Mapping[str, str] | None = None,
) -> None:
    """Write the spans of one request to `to`. `content` are further attributes of the request's span."""
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context

    operation = OPERATIONS.get(endpoint, endpoint)
    start = min(attempt.started for attempt in attempts)
    attributes = {"gen_ai.operation.name": operation, "gen_ai.request.model": route}
    attributes |= {"patchbay.source": source, "patchbay.request_id": request_id, **(content or {})}
    parent = to.start_span(f"{operation} {route}", kind=SpanKind.SERVER, attributes=attributes, start_time=int(start * NANOSECONDS))
    for attempt in attempts:
        span = to.start_span(
            f"{operation} {attempt.model}",
            context=set_span_in_context(parent),
            kind=SpanKind.CLIENT,
            attributes=_attributes(attempt, operation),
            start_time=int(attempt.started * NANOSECONDS),
        )
        if attempt.error:
            span.set_status(StatusCode.ERROR, attempt.why)
        span.end(_end(attempt))
    parent.end(max(map(_end, attempts)))


def _attributes(attempt: Attempt, operation: str) -> dict[str, Any]:
    known = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": attempt.backend,
        "gen_ai.request.model": attempt.model,
        "gen_ai.usage.input_tokens": attempt.usage.prompt_tokens,
        "gen_ai.usage.output_tokens": attempt.usage.completion_tokens,
        "gen_ai.server.time_to_first_token": attempt.first_token_ms and attempt.first_token_ms / 1000,
        "http.response.status_code": attempt.status,
        "error.type": attempt.error or None,
        "patchbay.outcome": attempt.outcome,
    }
    return {name: value for name, value in known.items() if value is not None}


def _end(attempt: Attempt) -> int:
    return int((attempt.started + (attempt.duration_ms or 0) / 1000) * NANOSECONDS)


@cache
def tracer() -> Tracer:
    """Return the tracer of this process, which exports in the background to the configured endpoint."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": "patchbay"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("patchbay")
