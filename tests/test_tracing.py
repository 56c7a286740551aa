"""OpenTelemetry traces by the GenAI conventions."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.live import Live
from webapp.core import tracing
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
from webapp.core import tracing
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
