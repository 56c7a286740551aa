"""The processes of a run, and the order in which they act.

Each process has an event loop. `World.run` lets one of those that have something to do run one step, chosen by the seed; if none has, time
jumps to the next timer. `Process.kill` is `kill -9`: the process never runs again, and no `finally` of it does either.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.simulation.machine import entropy
from tests.simulation.machine.clock import clock
from tests.simulation.machine.loop import SimulatedLoop, SimulatedTask
from tests.simulation.machine.network import Network
from tests.simulation.machine.state import ProcessState
from webapp.core import leases, threads

T = TypeVar("T")
LONG_SLEEP = 2.0
"""Seconds of sleep after which others may take a process for dead: less than the shortest lease, because its last sign was before."""
USERS = "users"
"""The process in which the users, the backends, and the faults of a run act. Nothing happens to it."""


class ProcessDied(Exception):
    """Report that the process that was asked to do something has died."""


class Broken(AssertionError):
    """Report a broken invariant."""


class Process:
    """One process of the installation.

    Attributes:
        host: the machine that it runs on. Processes of one machine see each other's process ids.
        clock_error: seconds by which its wall clock is wrong.
        frozen_until: when it runs again, by the monotonic clock.
        frozen_at: when it first slept long enough for others to take it for dead, in seconds since the start of the run.
        died_at: seconds since the start of the run; None while it is alive.
        stopped: set when its service manager tells it to stop.
        stopped_at: when that was, in seconds since the start of the run.
    """

    def __init__(self, world: World, name: str, *, host: str, pid: int) -> None:
        self.world, self.name, self.host, self.pid = world, name, host, pid
        self.started = f"{clock.elapsed:.3f}"
        self.alive = True
        self.died_at: float | None = None
        self.clock_error = 0.0
        self.frozen_until = 0.0
        self.frozen_at: float | None = None
        self.stopped_at: float | None = None
        self.stopped: asyncio.Event
        self.loop = SimulatedLoop(self)
        self._state = ProcessState()
        self._asked: dict[asyncio.Future[Any], None] = {}

    def __repr__(self) -> str:
        return self.name

    @contextmanager
    def current(self) -> Iterator[None]:
        """Make this the process that runs: its clock, its process id, its module state."""
        world = self.world
        before, world.now_running = world.now_running, self
        clock.offset = self.clock_error
        self._state.enter()
        try:
            yield
        finally:
            self._state.leave()
            world.now_running = before
            clock.offset = before.clock_error if before else 0.0

    @property
    def acts_at(self) -> float | None:
        """Return when it has something to do, by the monotonic clock; None for never."""
        at = 0.0 if self.loop.is_due else self.loop.next_timer
        return None if at is None else max(at, self.frozen_until)

    @property
    def silent_since(self) -> float | None:
        """Return when it first gave others a reason to take it for dead, in seconds since the start of the run; None for never."""
        times = [at for at in (self.died_at, self.frozen_at, self.stopped_at) if at is not None]
        return min(times, default=None)

    def freeze(self, seconds: float) -> None:
        """Stop the process for a while without its noticing, as a virtual machine that is moved."""
        self.frozen_until = clock.monotonic() + seconds
        if seconds > LONG_SLEEP and self.frozen_at is None:
            self.frozen_at = clock.elapsed
        self.world.note(f"freeze {self.name} for {seconds:.0f} s")

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task here."""
        return self.loop.create_task(_with_threads(coroutine))

    def ask(self, make: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Future[T]:
        """Run a coroutine here; return a future for the process of the users. `ProcessDied` if this process dies first."""
        future: asyncio.Future[T] = self.world.users.loop.create_future()
        if not self.alive:
            future.set_exception(ProcessDied(self.name))
            return future
        self._asked[future] = None
        task = self.start(make())
        task.add_done_callback(lambda done: self._answer(future, done))
        return future

    def _answer(self, future: asyncio.Future[Any], done: asyncio.Task[Any]) -> None:
        self._asked.pop(future, None)
        if future.done():
            return
        if done.cancelled():
            self.world.users.loop.call_soon(_settle, future, None, ProcessDied(self.name))
        elif error := done.exception():
            self.world.users.loop.call_soon(_settle, future, None, error)
        else:
            self.world.users.loop.call_soon(_settle, future, done.result(), None)

    def kill(self) -> None:
        """End the process at once."""
        self.alive = False
        self.died_at = clock.elapsed
        self.world.note(f"kill {self.name}")
        self.world.graveyard.append(self)
        self.world.processes.remove(self)
        for future in self._asked:
            self.world.users.loop.call_soon(_settle, future, None, ProcessDied(self.name))
        self._asked.clear()
        self.world.network.lose(self.loop)


class World:
    """One run.

    Attributes:
        random: decides everything that the seed decides.
        network: between the processes and the backends.
        faulty: whether faults still happen. At the end of a run they stop, and everything must settle.
    """

    def __init__(self, seed: int) -> None:
        entropy.reset(seed)
        clock.reset()
        SimulatedTask.restart_numbers()
        self.seed = seed
        self.random = random.Random(f"world {seed}")
        self.network = Network(self)
        self.processes: list[Process] = []
        self.graveyard: list[Process] = []
        self.errors: list[str] = []
        self.faulty = True
        self.outages: list[tuple[float, float]] = []
        self.now_running: Process | None = None
        self.slowness = 0.002
        self._steps = 0
        self._pid = 100
        self._trace = hashlib.blake2b(digest_size=8)
        self._install()
        self.users = self.new_process(USERS, host="outside")

    def _install(self) -> None:
        """Let the product see the process id and the machine of the process that runs."""
        os.getpid = lambda: self._running().pid
        leases.machine = lambda: self._running().host  # type: ignore[assignment]  # a cached function
        leases.process_start = self._start_of

    def _running(self) -> Process:
        return self.now_running or self.users

    def _start_of(self, pid: int) -> str:
        here = self._running().host
        return next((one.started for one in self.processes if one.host == here and one.pid == pid), "")

    def new_process(self, name: str, *, host: str = "web") -> Process:
        """Add a process."""
        self._pid += 1
        process = Process(self, name, host=host, pid=self._pid)
        self.processes.append(process)
        return process

    @property
    def servers(self) -> list[Process]:
        """Return the living processes of the installation."""
        return [one for one in self.processes if one is not self.users]

    def note(self, what: str) -> None:
        """Add to the trace by which two runs are compared."""
        self._trace.update(f"{clock.elapsed:.9f} {what}\n".encode())
        if TRACE is not None:
            TRACE(f"{clock.elapsed:12.6f} {self._running().name:12} {what}")

    @property
    def trace(self) -> str:
        """Return the fingerprint of everything that happened so far."""
        return self._trace.hexdigest()

    def chance(self, probability: float) -> bool:
        """Return whether a fault of this probability happens now."""
        return self.faulty and self.random.random() < probability

    def database_away(self, since: float, until: float) -> float:
        """Return for how many seconds between two times of the run the database could not be reached."""
        return sum(max(0.0, min(end, until) - max(start, since)) for start, end in self.outages)

    def thread_delay(self) -> float:
        """Return the seconds that a thread takes to begin, or to tell its result."""
        if self.chance(0.002):
            return self.random.uniform(0.1, 3.0)
        return self.random.random() * self.slowness

    def found_error(self, process: Process, context: dict[str, Any]) -> None:
        """Note an error that no task caught: the product must not have any."""
        self.errors.append(f"{process.name}: {context.get('message')}: {context.get('exception')!r}")

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run until the coroutine, in the process of the users, has ended."""
        with self.users.current():
            task = self.users.start(coroutine)
        while not task.done():
            self._advance()
        result: T = task.result()
        return result

    def _advance(self) -> None:
        now = clock.monotonic()
        times = [(at, one) for one in self.processes if (at := one.acts_at) is not None]
        due = [one for at, one in times if at <= now + 1e-9]
        if not due:
            clock.elapsed += min(at for at, _ in times) - now
            return
        process = due[0] if len(due) == 1 else self.random.choice(due)
        self._steps += 1
        self._trace.update(f"{clock.elapsed:.9f} {process.pid}\n".encode())
        with process.current():
            process.loop.step()


TRACE: Callable[[str], None] | None = None
"""Called with each line of the trace, to look at a run."""


async def _with_threads(coroutine: Coroutine[Any, Any, T]) -> T:
    async with threads.shared():
        return await coroutine


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
