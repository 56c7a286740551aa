"""Run any number of requests with bounded concurrency and memory.

    async for result in run(prompts, ask, concurrency=64):
        print(result.index, result.value if result.ok else result.error)

The input may be an endless (async) iterator: only a window of it is held. Results come in the order of the items, or as they finish. An
exception becomes the result of its item, and the others continue. Temporary failures are retried with jittered backoff. Rate limits halve
the concurrency, which grows back slowly (`throttle`). Closing the iterator cancels running calls and waits for their end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from webapp.patterns.errors import PatternError
from webapp.patterns.fallback.throttle import NEVER, Clock, ConcurrencyLimiter, Retry, RetryDecision, retry_after_of, verdict_on

__all__ = ["NEVER", "ParallelResult", "Progress", "Retry", "run"]

T = TypeVar("T")
R = TypeVar("R")


@dataclass(slots=True)  # not frozen: one is made for each of a million items
class ParallelResult(Generic[T, R]):
    """The result of one item. `index` counts from 0. `seconds` is from its first attempt to its end, including waits."""

    index: int
    item: T
    value: R | None = None
    error: Exception | None = None
    attempts: int = 1
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Return whether the request succeeded."""
        return self.error is None

    def unwrap(self) -> R:
        """Return the value, or raise the error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # None only where R allows it


class CancelledInside(PatternError):
    """Report that a worker's own task was cancelled while the run was not."""


@dataclass(slots=True)
class Progress:
    """The progress of a run: the same object each time, changed in place. `limit` is the concurrency that the server accepts now."""

    done: int = 0
    failed: int = 0
    running: int = 0
    retried: int = 0
    limit: int = 0


async def run(
    items: Iterable[T] | AsyncIterable[T],
    worker: Callable[[T], Awaitable[R]],
    *,
    concurrency: int = 10,
    ordered: bool = True,
    window: int | None = None,
    retry: Retry | None = None,
    adaptive: bool = True,
    verdict: Callable[[Exception], RetryDecision] = verdict_on,
    on_progress: Callable[[Progress], None] | None = None,
    clock: Clock | None = None,
) -> AsyncGenerator[ParallelResult[T, R], None]:
    """Call `worker` for each item and yield the results.

    Args:
        concurrency: maximum calls at once.
        ordered: yield in the order of the items; False: as they finish.
        window: maximum items that are taken and not yet yielded; the only memory that grows. Default: four times the concurrency.
        retry: how often to retry; `NEVER` for one attempt.
        adaptive: halve the concurrency on rate limits.
        verdict: decides what an error means; by default from the error tree.
        on_progress: called after each finished item and each retry.

    Raises:
        Exception: any error of `items`, after all results of its earlier items.
    """
    gate = ConcurrencyLimiter(concurrency, retry or Retry(), clock or Clock(), adaptive)
    pool = _Pool(
        items, worker, gate, ordered=ordered, window=max(concurrency, window or 4 * concurrency), verdict=verdict, on_progress=on_progress
    )
    tasks = [asyncio.create_task(pool.work()) for _ in range(concurrency)]
    pool.working = len(tasks)
    try:
        async for result in pool.results():
            yield result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Pool(Generic[T, R]):
    def __init__(
        self,
        items: Iterable[T] | AsyncIterable[T],
        worker: Callable[[T], Awaitable[R]],
        gate: ConcurrencyLimiter,
        *,
        ordered: bool,
        window: int,
        verdict: Callable[[Exception], RetryDecision],
        on_progress: Callable[[Progress], None] | None,
    ) -> None:
        self.working = 0
        self._source = _Source(items)
        self._worker = worker
        self._gate = gate
        self._ordered = ordered
        self._verdict = verdict
        self._on_progress = on_progress
        self._room = asyncio.Semaphore(window)
        self._ready: dict[int, ParallelResult[T, R]] = {}
        self._changed = asyncio.Event()
        self._progress = Progress(limit=gate.maximum)
        self._broken: BaseException | None = None

    async def results(self) -> AsyncIterator[ParallelResult[T, R]]:
        due = 0
        while True:
            while (result := self._take(due)) is not None:
                due += 1
                self._room.release()
                yield result
            if not self.working:
                break
            self._changed.clear()
            await self._changed.wait()
        if self._broken is not None:
            raise self._broken

    def _take(self, due: int) -> ParallelResult[T, R] | None:
        if self._ordered or not self._ready:
            return self._ready.pop(due, None)
        return self._ready.pop(next(iter(self._ready)))

    async def work(self) -> None:
        """Take items and process them until there are no more."""
        try:
            while self._broken is None:
                await self._room.acquire()
                index, item = await self._source.take()
                self._finish(await self._process(index, item))
        except StopAsyncIteration:
            pass
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001 - raised to the consumer after the results that came before; panics of Rust too
            self._broken = error
        finally:
            self._room.release()  # its place, for the next worker to see the end too
            self.working -= 1
            self._changed.set()

    def _finish(self, result: ParallelResult[T, R]) -> None:
        self._progress.done += 1
        self._progress.failed += not result.ok
        self._ready[result.index] = result
        self._changed.set()
        self._report()

    async def _process(self, index: int, item: T) -> ParallelResult[T, R]:
        clock = self._gate.clock
        first, attempts, failures = clock.now(), 0, 0
        while True:
            began = await self._gate.enter()
            attempts += 1
            value, error = await self._call(item)
            if error is None:
                self._gate.succeeded()
                return ParallelResult(index, item, value, None, attempts, clock.now() - first)
            verdict = self._verdict(error)
            failures += verdict is not RetryDecision.SLOWER
            if verdict is RetryDecision.SLOWER:
                wait = self._wait_after_limit(error, began, first, attempts)
            else:
                self._gate.leave()
                wait = self._wait_after_failure(verdict, failures)
            if wait is None:
                return ParallelResult(index, item, None, error, attempts, clock.now() - first)
            self._progress.retried += 1
            self._report()
            if wait:
                await clock.sleep(wait)

    def _wait_after_failure(self, verdict: RetryDecision, failures: int) -> float | None:
        """Return the seconds until the item may be retried; None if its error is the result."""
        retry = self._gate.retry
        if verdict is RetryDecision.FINAL or failures >= retry.attempts:
            return None
        return retry.delay(failures, self._gate.clock.chance())

    def _wait_after_limit(self, error: Exception, began: float, first: float, attempts: int) -> float | None:
        """Return the same after a rate limit. With adaptive concurrency, the limiter makes the item wait."""
        gate, asked = self._gate, retry_after_of(error) or 0.0
        gate.throttled(began, asked)
        wait = 0.0 if gate.adaptive else asked or gate.retry.delay(attempts, gate.clock.chance())
        waited = gate.clock.now() - first
        return None if waited + max(asked, wait, gate.closed_for) > gate.retry.patience else wait

    async def _call(self, item: T) -> tuple[R | None, Exception | None]:
        self._progress.running += 1
        try:
            return await self._worker(item), None
        except asyncio.CancelledError:
            if (task := asyncio.current_task()) is None or task.cancelling():
                self._gate.leave()
                raise
            return None, CancelledInside("The work was cancelled from inside")
        except Exception as error:  # noqa: BLE001 - an exception is a result
            return None, error
        finally:
            self._progress.running -= 1

    def _report(self) -> None:
        self._progress.limit = self._gate.allowed
        if self._on_progress:
            self._on_progress(self._progress)


class _Source(Generic[T]):
    """Number the items of an iterator of either kind. Safe for many takers."""

    def __init__(self, items: Iterable[T] | AsyncIterable[T]) -> None:
        self._count = 0
        self._taking = False
        self._free = asyncio.Event()
        self._sync = None if isinstance(items, AsyncIterable) else iter(items)
        self._async = aiter(items) if isinstance(items, AsyncIterable) else None

    async def take(self) -> tuple[int, T]:
        """Return the next item and its index; raise StopAsyncIteration at the end."""
        if self._async is not None:
            return self._number(await self._next(self._async))
        try:
            return self._number(next(self._sync))  # type: ignore[arg-type]  # one of the two is there
        except StopIteration:
            raise StopAsyncIteration from None

    async def _next(self, items: AsyncIterator[T]) -> T:
        """Return the next item, for one caller at a time. No Lock: it is fair, so each item would cost a turn of the event loop."""
        while self._taking:
            await self._free.wait()
        self._taking = True
        self._free.clear()
        try:
            return await anext(items)
        finally:
            self._taking = False
            self._free.set()

    def _number(self, item: T) -> tuple[int, T]:
        self._count += 1
        return self._count - 1, item
