"""Measuring a backend: what is counted, and that it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.patterns.backends import Scripted
from tests.patterns.virtual_time import run_virtually
from tests.upstream import Upstream, tokens
from webapp.patterns.benchmark import Percentiles, Progress, Report, Sample, measure
from webapp.patterns.errors import ServerFailed
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.tokens.counting import count_text
from webapp.patterns.types import Delta, Request, StreamChunk, ToolCallDelta, Usage

REQUEST = Request.chat([{"role": "user", "content": "Hello"}], model="gpt-4o")


@pytest.fixture(autouse=True, scope="module")
def vocabulary() -> None:
    """Loaded before: in virtual time nothing waits for a thread."""
    count_text("load", "gpt-4o")


def packet(**fields: Any) -> StreamChunk:
    return StreamChunk(b"", (Delta(**fields),))


def streams(
    first: float = 0.5, tokens: int = 11, pace: float = 0.1, *, usage: bool = True
) -> Callable[[Request], AsyncGenerator[StreamChunk, None]]:
    async def stream(request: Request) -> AsyncGenerator[StreamChunk, None]:
        yield packet()
        await asyncio.sleep(first)
        yield packet(text="tok")
        for _ in range(tokens - 1):
            await asyncio.sleep(pace)
            yield packet(text=" tok")
        yield packet(finish_reason="stop", usage=Usage(5, tokens) if usage else None)

    return stream


def measured(backend: Scripted, **options: Any) -> Report:
    async def scenario() -> Report:
        return await measure(backend, REQUEST, clock=asyncio.get_running_loop().time, **options)

    return run_virtually(scenario())


def near(value: float | None, expected: float) -> bool:
    return value is not None and abs(value - expected) < 0.001


def test_it_measures_first_token_pace_and_throughput() -> None:
    backend = Scripted(packets=streams())
    report = measured(backend, requests=8, concurrency=4)
    assert len(backend.requests) == 9, "one to warm up"
    assert (report.answered, report.failed, report.unfinished, report.tokens, report.exact) == (8, 0, 0, 88, True)
    assert near(report.first_token_ms.p50, 500)
    assert near(report.duration_ms.p99, 1500)
    assert near(report.stream_tokens_per_second.p50, 10)
    assert near(report.seconds, 3)
    assert near(report.tokens_per_second, 88 / 3)
    assert near(report.requests_per_second, 8 / 3)


def test_tokens_are_counted_here_where_the_server_reports_none() -> None:
    report = measured(Scripted(packets=streams(usage=False)), requests=1)
    assert (report.tokens, report.exact) == (11, False)


def test_reasoning_and_tool_calls_are_first_tokens_too() -> None:
    async def stream(request: Request) -> AsyncGenerator[StreamChunk, None]:
        await asyncio.sleep(1)
        yield packet(reasoning="Hm")
        await asyncio.sleep(1)
        yield packet(tool_calls=(ToolCallDelta(0, arguments="{}"),), finish_reason="tool_calls")

    report = measured(Scripted(packets=stream), requests=1)
    assert near(report.first_token_ms.p50, 1000)
    assert report.tokens > 1


def test_errors_are_counted_and_not_raised() -> None:
    async def stream(request: Request) -> AsyncGenerator[StreamChunk, None]:
        yield packet(text="partial")
        raise ServerFailed("503")

    progress: list[Progress] = []
    report = measured(Scripted(packets=stream), requests=3, on_progress=progress.append)
    assert (report.answered, report.failed, dict(report.errors)) == (0, 3, {"ServerFailed": 3})
    assert (report.first_token_ms.p50, report.tokens_per_second) == (None, 0)
    assert [(event.done, event.requests) for event in progress] == [(1, 3), (2, 3), (3, 3)]
    assert progress[0].sample.message == "503"


def test_it_is_bounded_in_time() -> None:
    """Requests still running at the time limit are closed and counted as unfinished. The warm-up counts against the limit."""
    closed = 0

    async def stream(request: Request) -> AsyncGenerator[StreamChunk, None]:
        nonlocal closed
        try:
            while True:
                yield packet(text="more ")
                await asyncio.sleep(1)
        finally:
            closed += 1

    report = measured(Scripted(packets=stream), requests=100, concurrency=4, seconds=10, warm_up=0)
    assert (report.answered, report.unfinished, closed) == (0, 4, 4)
    assert near(report.seconds, 10)
    stuck = measured(Scripted(packets=stream), requests=100, concurrency=4, seconds=10)
    assert (stuck.answered, stuck.failed) == (0, 0)


def test_it_is_bounded_in_requests_at_once() -> None:
    running = peak = 0

    async def stream(request: Request) -> AsyncGenerator[StreamChunk, None]:
        nonlocal running, peak
        running += 1
        peak = max(peak, running)
        await asyncio.sleep(1)
        running -= 1
        yield packet(text="x", finish_reason="stop")

    measured(Scripted(packets=stream), requests=20, concurrency=6)
    assert peak == 6


@given(st.lists(st.floats(0, 1000), min_size=1))
def test_percentiles_are_values_that_were_measured(values: list[float]) -> None:
    found = Percentiles.of(values)
    assert {found.p50, found.p90, found.p95, found.p99} <= set(values)
    assert found.p50 is not None
    assert found.p99 is not None
    assert found.p50 <= found.p99
    assert sum(value <= found.p50 for value in values) >= len(values) / 2


def test_percentiles_of_a_hundred_are_their_ranks() -> None:
    assert Percentiles.of([float(number) for number in range(100, 0, -1)]) == Percentiles(50, 90, 95, 99)


def test_a_pace_needs_two_tokens_and_time() -> None:
    assert Sample(100, 200, 1).tokens_per_second is None
    assert Sample(100, 100, 5).tokens_per_second is None
    assert Sample(None, 100, 5).tokens_per_second is None
    assert Sample(100, 200, 5, error="ServerFailed").tokens_per_second is None
    assert Sample(100, 200, 5).tokens_per_second == 40


def test_a_run_of_no_time_has_no_throughput() -> None:
    report = measured(Scripted(packets=streams()), requests=0, warm_up=0)
    assert (report.tokens_per_second, report.requests_per_second, report.answered) == (0, 0, 0)


async def test_it_measures_over_real_http(upstream: Upstream) -> None:
    upstream.default = tokens(20, pace=0.01, first=0.1)
    backend = OpenAIBackend("test", upstream.base_url)
    try:
        report = await measure(backend, REQUEST, requests=4, concurrency=2)
    finally:
        await backend.aclose()
    assert (report.answered, report.failed) == (4, 0)
    assert report.first_token_ms.p50 is not None
    assert report.first_token_ms.p50 >= 100
    assert report.stream_tokens_per_second.p50 is not None
