"""An event loop for one simulated process: virtual time, and threads that take turns instead of running at once.

A function that the product sends to a thread runs here in a greenlet. It pauses between two database statements outside of a transaction,
so that other processes may act in between, as they may in reality. A call takes virtual time before and after it runs: a process can die
after a commit and before it learns of it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import Context
from itertools import count
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from tests.simulation.machine.clock import clock

if TYPE_CHECKING:
    from tests.simulation.machine.world import Process


@contextmanager
def outside_loop() -> Iterator[None]:
    """Run the block as in a thread, which has no event loop: Django refuses database calls on a loop."""
    loop = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)


class SimulatedTask(asyncio.Task[Any]):
    """A task whose hash is its number: sets of tasks then have the same order in each run."""

    _numbers = count()

    def __init__(self, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number = next(SimulatedTask._numbers)
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other

    @classmethod
    def restart_numbers(cls) -> None:
        """Count from zero, for a new run."""
        cls._numbers = count()


class _NoSelector:
    """Stand in for the selector: there is no real input, and time passes elsewhere."""

    def select(self, timeout: float | None = None) -> list[Any]:
        return []


class ThreadCall:
    """A function that runs in a simulated thread."""

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...], future: asyncio.Future[Any]) -> None:
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None
        self._function, self._arguments = function, arguments
        self.thread = greenlet(self._run)

    def _run(self) -> None:
        try:
            self.result = self._function(*self._arguments)
        except BaseException as error:  # noqa: BLE001 - it is raised where the call is awaited
            self.error = error


class SimulatedLoop(asyncio.BaseEventLoop):
    """The event loop of one process. `World` decides when it runs its next step."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self, process: Process) -> None:
        super().__init__()
        self.process = process
        self._selector = _NoSelector()
        self._lanes: dict[int, deque[ThreadCall]] = {}
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._report)

    def time(self) -> float:
        return clock.monotonic()

    def step(self) -> None:
        """Run everything that is due now, once."""
        self.stop()
        self.run_forever()

    @property
    def is_due(self) -> bool:
        """Return whether a callback waits for the next step."""
        return bool(self._ready)

    @property
    def next_timer(self) -> float | None:
        """Return when the next timer ends. It may be a cancelled one, whose step then does nothing."""
        return self._scheduled[0].when() if self._scheduled else None

    def run_in_executor(  # type: ignore[override]  # any object may stand for an executor
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """Run a function in a simulated thread. Those of one executor take turns; the default executor has many threads."""
        call = ThreadCall(func, args, self.create_future())
        lane = self._lanes.setdefault(id(executor) if executor is not None else id(call), deque())
        lane.append(call)
        if len(lane) == 1:
            self._start(lane)
        return call.future

    def _start(self, lane: deque[ThreadCall]) -> None:
        self.call_later(self.process.world.thread_delay(), self._resume, lane, context=Context())

    def _resume(self, lane: deque[ThreadCall]) -> None:
        """Let the first call of a lane run until it pauses or ends."""
        call = lane[0]
        if call.future.cancelled() and not call.thread:  # a call that has not begun can be cancelled
            self._ended(lane)
            return
        with outside_loop():
            call.thread.switch()
        if call.thread.dead:
            self.call_later(self.process.world.thread_delay(), self._deliver, lane, context=Context())
        else:
            self._start(lane)

    def _deliver(self, lane: deque[ThreadCall]) -> None:
        call = lane[0]
        if not call.future.done():
            if call.error is None:
                call.future.set_result(call.result)
            else:
                call.future.set_exception(call.error)
        self._ended(lane)

    def _ended(self, lane: deque[ThreadCall]) -> None:
        lane.popleft()
        if lane:
            self._start(lane)

    async def create_connection(self, protocol_factory: Any, host: Any = None, port: Any = None, **options: Any) -> Any:
        """Connect to a server of the simulated network."""
        return await self.process.world.network.connect(self, protocol_factory, host, port)

    def _make_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> SimulatedTask:
        return SimulatedTask(coroutine, loop=loop, **options)

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.process.world.found_error(self.process, context)

    def _process_events(self, event_list: Any) -> None:
        return

    def _write_to_self(self) -> None:
        return


def pause_thread() -> None:
    """Let other processes act before the current simulated thread goes on. Outside of one, do nothing."""
    current = getcurrent()
    if current.parent is not None:
        current.parent.switch()
