"""Benchmarks: run beside everything else, kept, stopped when asked."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from tests.upstream import Upstream, status, tokens
from webapp.backends import services
from webapp.backends.models import BenchmarkRun

pytestmark = pytest.mark.django_db(transaction=True)
MakeUpstream = Callable[..., Upstream]


def test_a_benchmark_is_measured_and_kept(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.default = tokens(10, pace=0.005, first=0.05)
    services.add_backend(name="a", base_url=upstream.base_url)
    run, thread = services.start_benchmark(target="a/m", concurrency=2, max_tokens=10, rounds=2, user=None)
    thread.join(30)
    run.refresh_from_db()
    assert (run.status, run.done, run.results["answered"], len(run.results["samples"])) == ("done", 4, 4, 4)
    assert 40 < run.results["first_token_ms"]["p50"] < 1000
    assert run.results["tokens_per_second"] > 0


def test_a_benchmark_of_a_failing_server_says_what_failed(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.default = status(500, {"error": {"message": "out of memory"}})
    services.add_backend(name="a", base_url=upstream.base_url)
    run, thread = services.start_benchmark(target="a/m", concurrency=1, max_tokens=10, rounds=2, user=None)
    thread.join(30)
    run.refresh_from_db()
    assert run.status == "failed"
    assert "out of memory" in run.error


def test_a_benchmark_of_nothing_says_so() -> None:
    run, thread = services.start_benchmark(target="nothing", concurrency=1, max_tokens=10, rounds=1, user=None)
    thread.join(30)
    run.refresh_from_db()
    assert run.status == "failed"
    assert "does not exist" in run.error


def test_a_cancelled_benchmark_stops_within_a_second(make_upstream: MakeUpstream) -> None:
    upstream = make_upstream()
    upstream.default = tokens(10_000, pace=0.05)
    services.add_backend(name="a", base_url=upstream.base_url)
    run, thread = services.start_benchmark(target="a/m", concurrency=2, max_tokens=10, rounds=50, user=None)
    upstream.wait_for(1)
    services.cancel_benchmark(run=run)
    begun = time.monotonic()
    thread.join(10)
    assert time.monotonic() - begun < 3
    run.refresh_from_db()
    assert run.status == BenchmarkRun.Status.CANCELLED
