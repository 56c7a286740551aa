"""OpenTelemetry traces by the GenAI conventions."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.live import Live
from webapp.core import captured_messages, genai_metrics, tracing
from webapp.patterns.types import Attempt, Usage

ATTEMPTS = [
    Attempt("vllm", "llama", outcome="failed", error="Unreachable", why="refused", started=100.0, duration_ms=5),
    Attempt("openai", "gpt", outcome="ok", status=200, started=100.005, first_token_ms=200, duration_ms=900, usage=Usage(7, 5)),
]


def test_a_request_is_a_span_with_a_child_for_each_attempt() -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.export(provider.get_tracer("test"), ATTEMPTS, source="chat", route="default", endpoint="chat/completions", request_id="r-1")
    failed, served, request = exporter.get_finished_spans()
    assert (request.name, failed.name, served.name) == ("chat default", "chat llama", "chat gpt")
    assert failed.parent is not None
    assert failed.parent.span_id == request.context.span_id
    assert failed.status.description == "refused"
    assert served.attributes is not None
    assert served.attributes["gen_ai.usage.output_tokens"] == 5
    assert served.attributes["gen_ai.server.time_to_first_token"] == 0.2
    assert request.end_time == served.end_time == 100_905_000_000


class Collector(BaseHTTPRequestHandler):
    """Takes OTLP over HTTP."""

    def do_POST(self) -> None:
        self.server.bodies.append(self.rfile.read(int(self.headers["Content-Length"])))  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def collector() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Collector)
    server.bodies = []  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


EXPORT = """
from webapp.core import captured_messages, genai_metrics, tracing
from webapp.patterns.types import Attempt
tracing.trace([Attempt("vllm", "a-model-to-find")], source="chat", route="default", endpoint="embeddings", request_id="r")
tracing.tracer().span_processor.force_flush()
"""


def test_spans_reach_the_collector_named_by_opentelemetrys_variables(live: Live, collector: HTTPServer) -> None:
    other = Live(live.home, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"})
    other.run_python(EXPORT)
    assert b"a-model-to-find" in b"".join(collector.bodies)  # type: ignore[attr-defined]


def test_nothing_is_traced_or_imported_where_it_is_off(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tracing.ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    tracing.is_on.cache_clear()
    monkeypatch.setattr(tracing, "tracer", lambda: pytest.fail("made a tracer"))
    tracing.trace(ATTEMPTS, source="chat", route="default", endpoint="chat/completions", request_id="r-1")


def test_messages_are_part_of_a_span_only_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:9")
    tracing.is_on.cache_clear()
    for value, wanted in (("", False), ("false", False), ("true", True)):
        monkeypatch.setenv("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", value)
        tracing.captures_content.cache_clear()
        assert tracing.captures_content() is wanted
    tracing.is_on.cache_clear()
    tracing.captures_content.cache_clear()


TEXT = {"type": "text", "content": "Hi"}
PICTURE = {"type": "image_url", "image_url": {"url": "data:"}}
CALL = {"type": "tool_call", "id": "1", "name": "look", "arguments": "{}"}
RESULT = {"type": "tool_call_response", "id": "1", "response": "42"}
USER = {"role": "user", "parts": [TEXT]}


@pytest.mark.parametrize(
    ("body", "messages"),
    [
        ({"messages": [{"role": "user", "content": "Hi"}]}, [USER]),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, PICTURE]}]},
            [{"role": "user", "parts": [TEXT, PICTURE]}],
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "look", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "1", "content": "42"},
                ]
            },
            [{"role": "assistant", "parts": [CALL]}, {"role": "tool", "parts": [RESULT]}],
        ),
        (
            {
                "messages": [
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "1", "name": "look", "input": {}}]},
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1", "content": "42"}]},
                ]
            },
            [{"role": "assistant", "parts": [{**CALL, "arguments": {}}]}, {"role": "user", "parts": [RESULT]}],
        ),
        ({"input": "Hi"}, [USER]),
        ({"input": ["Hi", "Hi"]}, [USER, USER]),
        ({"input": [1, 2]}, None),
        ({"prompt": "Hi"}, [USER]),
        (
            {
                "input": [
                    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
                    {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
                    {"type": "function_call_output", "call_id": "1", "output": "42"},
                    {"type": "reasoning", "summary": []},
                ]
            },
            [
                USER,
                {"role": "assistant", "parts": [CALL]},
                {"role": "tool", "parts": [RESULT]},
                {"role": "assistant", "parts": [{"type": "reasoning", "summary": []}]},
            ],
        ),
        ({}, None),
    ],
)
def test_the_messages_of_every_protocol_have_the_form_of_the_conventions(body: dict[str, Any], messages: list[Any] | None) -> None:
    found = captured_messages.attributes_of(body, "")
    assert json.loads(found.get("gen_ai.input.messages", "null")) == messages
    assert "gen_ai.output.messages" not in found


@pytest.mark.parametrize("body", [{"instructions": "Hi"}, {"system": "Hi"}, {"system": [{"type": "text", "text": "Hi"}]}])
def test_instructions_and_answers_are_captured(body: dict[str, Any]) -> None:
    found = captured_messages.attributes_of(body, "Hi")
    assert json.loads(found["gen_ai.system_instructions"]) == [TEXT]
    assert json.loads(found["gen_ai.output.messages"]) == [{"role": "assistant", "parts": [TEXT], "finish_reason": "stop"}]


def points(reader: InMemoryMetricReader) -> dict[str, list[Any]]:
    """The data points by metric."""
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [metric for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics]
    return {metric.name: [metric.unit, *metric.data.data_points] for metric in metrics}


def test_attempts_are_measured_by_the_genai_conventions() -> None:
    reader = InMemoryMetricReader()
    instruments = genai_metrics.Instruments(MeterProvider(metric_readers=[reader]).get_meter("test"))
    guessed = Attempt("vllm", "llama", outcome="ok", duration_ms=10, usage=Usage(3, 4, estimated=True))
    instruments.observe([*ATTEMPTS, guessed, Attempt("vllm", "llama", outcome="skipped")], endpoint="chat/completions")
    found = points(reader)
    unit, *durations = found["gen_ai.client.operation.duration"]
    assert unit == "s"
    assert {point.attributes.get("error.type"): point.sum for point in durations if point.attributes["gen_ai.provider.name"] == "vllm"} == {
        "Unreachable": 0.005,
        None: 0.01,
    }
    assert durations[0].explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert durations[0].explicit_bounds[-1] == 81.92
    unit, first = found["gen_ai.client.operation.time_to_first_chunk"]
    assert (unit, first.sum) == ("s", 0.2)
    unit, *tokens = found["gen_ai.client.token.usage"]
    assert unit == "{token}"
    assert {point.attributes["gen_ai.token.type"]: point.sum for point in tokens} == {"input": 7, "output": 5}
    assert tokens[0].explicit_bounds[-1] == 67108864
    assert tokens[0].attributes["gen_ai.operation.name"] == "chat"


METER = """
from webapp.core import genai_metrics
from webapp.patterns.types import Attempt
genai_metrics.observe([Attempt("vllm", "a-model-to-measure", outcome="ok", duration_ms=5)], endpoint="chat/completions")
genai_metrics.provider().force_flush()
"""


def test_metrics_reach_the_collector_named_by_opentelemetrys_variables(live: Live, collector: HTTPServer) -> None:
    other = Live(live.home, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.server_port}"})
    other.run_python(METER)
    sent = b"".join(collector.bodies)  # type: ignore[attr-defined]
    assert b"gen_ai.client.operation.duration" in sent
    assert b"a-model-to-measure" in sent
