"""Any number of requests, so many at a time: order, window, retries, storms, cancellation."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.patterns.virtual_time import run_virtually, virtual_clock
from tests.upstream import Upstream, status
from webapp.patterns.batch.parallel import NEVER, CancelledInside, ParallelResult, Progress, Retry, run
from webapp.patterns.errors import AuthenticationFailed, RateLimited, RequestRejected, ServerFailed
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import Request


async def collect(items: Any, worker: Any, **options: Any) -> list[ParallelResult[Any, Any]]:
    return [result async for result in run(items, worker, **options)]


async def double(number: int) -> int:
    return number * 2


class Server:
    """Answers after `seconds`; refuses with a rate limit while more than `most` run, or while a storm lasts."""

    def __init__(
        self, *, seconds: float = 1.0, most: int = 1000, storm: tuple[float, float] = (0, 0), retry_after: float | None = None
    ) -> None:
        self.seconds, self.most, self.storm, self.retry_after = seconds, most, storm, retry_after
        self.calls = self.running = self.peak = 0
        self.peaks: dict[int, int] = {}

    async def __call__(self, item: int) -> int:
        now = asyncio.get_running_loop().time()
        self.calls += 1
        self.running += 1
        self.peak = max(self.peak, self.running)
        self.peaks[int(now)] = max(self.peaks.get(int(now), 0), self.running)
        try:
            if self.running > self.most or self.storm[0] <= now < self.storm[1]:
                await asyncio.sleep(0.05)
                raise RateLimited("slow down", retry_after=self.retry_after)
            await asyncio.sleep(self.seconds)
            return item
        finally:
            self.running -= 1


# --- results


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(1, 12), st.booleans(), st.randoms(use_true_random=False))
def test_each_item_has_one_result_in_the_order_of_the_items(count: int, concurrency: int, ordered: bool, random: Any) -> None:
    seconds = [random.random() for _ in range(count)]

    async def worker(number: int) -> int:
        await asyncio.sleep(seconds[number])
        if number % 5 == 4:
            raise ValueError(number)
        return number * 2

    async def scenario() -> list[ParallelResult[Any, Any]]:
        return await collect(range(count), worker, concurrency=concurrency, ordered=ordered)

    results = run_virtually(scenario())
    indexes = [result.index for result in results]
    assert indexes == list(range(count)) if ordered else sorted(indexes) == list(range(count))
    for result in results:
        assert result.item == result.index
        assert result.ok == (result.index % 5 != 4)
        assert result.value == result.index * 2 if result.ok else isinstance(result.error, ValueError)


def test_results_come_as_they_finish_when_order_does_not_matter() -> None:
    async def worker(seconds: float) -> None:
        await asyncio.sleep(seconds)

    results = run_virtually(collect([3, 1, 2], worker, ordered=False))
    assert [result.index for result in results] == [1, 2, 0]


async def test_unwrap_gives_the_value_or_raises_the_error() -> None:
    async def invert(number: int) -> float:
        return 1 / number

    good, bad = await collect([2, 0], invert)
    assert good.unwrap() == 0.5
    with pytest.raises(ZeroDivisionError):
        bad.unwrap()


async def test_an_async_iterator_is_read_as_it_is_needed_and_no_further() -> None:
    taken = 0

    async def endless() -> AsyncIterator[int]:
        nonlocal taken
        while True:
            taken += 1
            await asyncio.sleep(0)
            yield taken

    async with aclosing(run(endless(), double, concurrency=4, window=10)) as results:
        async for result in results:
            assert result.value == (result.index + 1) * 2
            assert taken <= result.index + 1 + 10
            if result.index == 500:
                break


async def test_a_slow_first_item_holds_the_window_and_not_more() -> None:
    """Ordered results wait for the first; what is finished meanwhile is bounded."""
    taken: list[int] = []
    release = asyncio.Event()

    def source() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    async def worker(number: int) -> int:
        if number == 0:
            await release.wait()
        return number

    results = run(source(), worker, concurrency=4, window=16)
    first = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0.01)
    assert len(taken) == 16
    release.set()
    assert (await first).index == 0
    assert [result.index async for result in results] == list(range(1, 1000))


async def test_memory_is_that_of_the_window() -> None:
    """Two hundred times the window: what is alive does not grow."""
    sizes: dict[int, int] = {}

    async def worker(number: int) -> bytes:
        return bytes(10_000)

    tracemalloc.start()
    try:
        async for result in run(range(4_000), worker, concurrency=5, window=20):
            if result.index in {500, 3_999}:
                sizes[result.index] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert sizes[3_999] < sizes[500] + 100_000


# --- failures


def test_what_may_work_later_is_asked_again_with_backoff() -> None:
    times: list[float] = []

    async def worker(item: int) -> str:
        times.append(asyncio.get_running_loop().time())
        if len(times) < 4:
            raise ServerFailed("503", status=503)
        return "at last"

    async def scenario() -> list[ParallelResult[Any, Any]]:
        return await collect([0], worker, retry=Retry(base=1), clock=virtual_clock())

    (result,) = run_virtually(scenario())
    assert (result.value, result.attempts, result.seconds) == ("at last", 4, 7)
    assert times == [0, 1, 3, 7]


@pytest.mark.parametrize(
    ("error", "retry", "calls"),
    [
        (ServerFailed("503"), Retry(attempts=3), 3),
        (ServerFailed("503"), NEVER, 1),
        (AuthenticationFailed("401"), Retry(attempts=3), 1),
        (KeyError("a bug"), Retry(attempts=3), 1),
        (RateLimited("429"), NEVER, 1),
        (RateLimited("429", retry_after=50), Retry(patience=120), 3),
        (RateLimited("429", retry_after=0), Retry(base=1, patience=5), 3),
        (RateLimited("429", retry_after=1e9), Retry(patience=120), 1),
    ],
)
@pytest.mark.parametrize("adaptive", [True, False])
def test_an_error_becomes_the_result_when_asking_again_is_no_use(error: Exception, retry: Retry, calls: int, adaptive: bool) -> None:
    """Rate limits are waited out while patience lasts; failures are counted."""
    made = 0

    async def worker(item: int) -> None:
        nonlocal made
        made += 1
        raise error

    async def scenario() -> list[ParallelResult[Any, Any]]:
        return await collect([0], worker, retry=retry, adaptive=adaptive, clock=virtual_clock())

    (result,) = run_virtually(scenario())
    assert result.error is error
    assert result.attempts == made == calls


async def test_a_broken_source_is_raised_after_the_results_of_what_it_gave() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise OSError("disk gone")

    results = run(source(), double, concurrency=3)
    assert [(await anext(results)).value, (await anext(results)).value] == [2, 4]
    with pytest.raises(OSError, match="disk gone"):
        await anext(results)


async def test_a_panic_is_not_swallowed() -> None:
    """pyo3's PanicException is no Exception."""

    class PanicException(BaseException):
        pass

    async def worker(item: int) -> None:
        raise PanicException

    with pytest.raises(PanicException):
        await collect(range(3), worker)


async def test_a_worker_whose_own_task_was_cancelled_fails_alone() -> None:
    async def worker(number: int) -> int:
        if number == 1:
            raise asyncio.CancelledError
        return number

    results = await collect(range(3), worker)
    assert [result.ok for result in results] == [True, False, True]
    assert isinstance(results[1].error, CancelledInside)


# --- rate limits


@pytest.mark.parametrize("retry_after", [None, 30.0])
def test_a_ten_minute_storm_of_429_loses_nothing_and_costs_few_calls(retry_after: float | None) -> None:
    """FAULTS 44: none lost, concurrency steps down and recovers, at most 20 % extra calls."""
    server = Server(storm=(5, 605), retry_after=retry_after)
    seen: list[tuple[float, int]] = []

    async def scenario() -> list[ParallelResult[Any, Any]]:
        loop = asyncio.get_running_loop()
        return await collect(
            range(2000),
            server,
            concurrency=64,
            retry=Retry(patience=3600),
            clock=virtual_clock(0.5),
            on_progress=lambda progress: seen.append((loop.time(), progress.limit)),
        )

    results = run_virtually(scenario())
    assert all(result.ok for result in results)
    assert server.calls <= 2000 * 1.2
    assert min(limit for _, limit in seen) == 1
    assert seen[-1][1] > 32
    assert max(peak for second, peak in server.peaks.items() if 10 < second < 600) == 1


def test_it_settles_near_what_the_server_can_take() -> None:
    server = Server(most=10)

    async def scenario() -> list[ParallelResult[Any, Any]]:
        return await collect(range(600), server, concurrency=64, retry=Retry(base=0.1, patience=3600), clock=virtual_clock())

    results = run_virtually(scenario())
    assert all(result.ok for result in results)
    assert server.calls < 600 * 1.25


# --- progress and cancellation


async def test_progress_counts_what_happens() -> None:
    failed_once: set[int] = set()

    async def worker(number: int) -> int:
        if number == 3 and number not in failed_once:
            failed_once.add(number)
            raise ServerFailed("once")
        return 10 // number

    seen: list[tuple[int, int, int, int, int]] = []

    def on_progress(progress: Progress) -> None:
        seen.append((progress.done, progress.failed, progress.retried, progress.running, progress.limit))

    await collect(range(10), worker, concurrency=4, retry=Retry(base=0.001), on_progress=on_progress)
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert seen[-1] == (10, 1, 1, 0, 4)


async def test_closing_cancels_what_runs_and_waits_until_it_has_ended() -> None:
    ended: list[int] = []

    async def worker(number: int) -> int:
        try:
            await asyncio.sleep(0 if number == 0 else 60)
        finally:
            await asyncio.sleep(0.01)
            ended.append(number)
        return number

    results = run(range(100), worker, concurrency=5)
    assert (await anext(results)).index == 0
    await results.aclose()
    assert sorted(ended) in ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5])
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_cancelling_the_caller_cancels_the_work() -> None:
    running = 0

    async def worker(number: int) -> None:
        nonlocal running
        running += 1
        try:
            await asyncio.sleep(60)
        finally:
            running -= 1

    task = asyncio.ensure_future(collect(range(10), worker, concurrency=3))
    await asyncio.sleep(0.01)
    assert running == 3
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert running == 0


async def test_it_sends_requests_over_real_http_and_waits_out_a_rate_limit(upstream: Upstream) -> None:
    backend = OpenAIBackend("test", upstream.base_url)
    upstream.script(*[status(429, headers={"retry-after-ms": "20"})] * 3, status(503), status(400))

    async def ask(number: int) -> str:
        return (await backend.send(Request.chat([{"role": "user", "content": str(number)}], model="m"))).text

    try:
        results = await collect(range(20), ask, concurrency=3, retry=Retry(base=0.01))
    finally:
        await backend.aclose()
    assert [type(result.error) for result in results if not result.ok] == [RequestRejected]
    assert [result.value for result in results if result.ok] == ["Hello from upstream."] * 19
    assert len(upstream.requests) == 20 + 3 + 1
