"""One run: the servers of a small installation, the faults that befall them, and the scenarios that use them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from channels.layers import get_channel_layer
from django.db import Error

from tests.simulation.machine.clock import clock
from tests.simulation.machine.database import SimulatedDatabase
from tests.simulation.machine.loop import outside_loop
from tests.simulation.machine.world import Broken, Process, World
from tests.simulation.scenarios import SCENARIOS
from tests.simulation.scenarios.base import Scenario

SERVERS = 3
DAYS = 3
ACTIVE_SECONDS = 12.0
"""Seconds of each simulated day in which users act and faults happen."""
NIGHT_SECONDS = 2100.0
"""Seconds, give or take a tenth, between two days, in which no server runs."""
LONGEST_OUTAGE = 12.0


@dataclass(frozen=True)
class Result:
    """The result of a run.

    Attributes:
        trace: the fingerprint of everything that happened.
        seconds: of virtual time.
        broken: the invariant that did not hold; empty if all did.
    """

    seed: int
    trace: str
    seconds: float
    broken: str = ""


def run(seed: int, only: str = "") -> Result:
    """Run a seed. `only` names a scenario; by default the seed chooses."""
    gc.disable()  # a collection runs finalizers at moments that do not depend on the seed
    world = World(seed)
    get_channel_layer().begin(world)
    broken = ""
    try:
        world.run(Installation(world, only).live())
    except Broken as error:
        broken = str(error)
    if not broken and world.errors:
        broken = f"an error that no task handled: {world.errors[0]}"
    return Result(seed, world.trace, clock.elapsed, broken)


class Installation:
    """A few servers with one database. They start, stop, and die."""

    def __init__(self, world: World, only: str) -> None:
        self.world = world
        self.random = world.random
        self.servers: list[Process] = []
        self._database = SimulatedDatabase(world, lost_answers=self.random.choice([0.0, 0.0, 0.001]))
        self._numbers = 0
        chosen = [kind for kind in SCENARIOS if only in {"", kind.name}]
        if not only:
            chosen = self.random.sample(chosen, self.random.randint(1, min(2, len(chosen))))
        self.scenarios: list[Scenario] = [kind(world, self.servers) for kind in chosen]

    async def live(self) -> None:
        """Live through a few days, then let everything settle, and check."""
        for scenario in self.scenarios:
            with outside_loop():
                scenario.prepare()
        for day in range(DAYS):
            if day:
                await asyncio.sleep(NIGHT_SECONDS * (0.9 + self.random.random() / 5))
            await self._day(is_last=day == DAYS - 1)
        for scenario in self.scenarios:
            await scenario.settle()
            with outside_loop():
                scenario.check()

    async def _day(self, *, is_last: bool) -> None:
        for _ in range(self.random.randint(1, SERVERS)):
            self._start_server()
        until = clock.elapsed + ACTIVE_SECONDS * (0.5 + self.random.random())
        acting = [asyncio.ensure_future(scenario.act(until)) for scenario in self.scenarios]
        faults = asyncio.ensure_future(self._faults(until))
        await asyncio.gather(faults, *acting)
        if is_last:
            self.world.faulty = False
            for _ in range(2):
                self._start_server()
            return
        for server in self.world.servers:
            if self.random.random() < 0.5:
                self._kill(server)
            else:
                self._stop(server)
        await asyncio.sleep(30.0)

    # --- servers

    def _start_server(self) -> None:
        self._numbers += 1
        process = self.world.new_process(f"web{self._numbers}", host=self.random.choice(["north", "south"]))
        process.clock_error = self.random.choice([0.0, 0.0, 0.0, self.random.uniform(-2, 2)])
        self.world.note(f"start {process.name}")
        with process.current():
            process.stopped = asyncio.Event()
            process.start(self._serve(process))

    async def _serve(self, process: Process) -> None:
        """Run the services in a server process until it is told to stop."""
        while True:
            try:
                async with self._services(process):
                    self.servers.append(process)
                    await process.stopped.wait()
                    if process in self.servers:
                        self.servers.remove(process)
                    return
            except Error:
                await asyncio.sleep(3.0)  # the service manager starts it again

    @asynccontextmanager
    async def _services(self, process: Process) -> AsyncGenerator[None, None]:
        async with AsyncExitStack() as stack:
            for scenario in self.scenarios:
                await stack.enter_async_context(scenario.service(process))
            yield

    def _stop(self, server: Process) -> None:
        """Stop a server as its service manager does: it gets time to finish, and is killed afterwards."""
        if server.stopped_at is not None:
            return
        self.world.note(f"stop {server.name}")
        if server in self.servers:
            self.servers.remove(server)
        server.stopped_at = clock.elapsed
        server.loop.call_soon(server.stopped.set)
        self.world.users.loop.call_later(20.0, self._kill, server)

    def _kill(self, server: Process) -> None:
        if server in self.servers:
            self.servers.remove(server)
        if server.alive:
            server.kill()

    # --- faults

    async def _faults(self, until: float) -> None:
        faults: list[Callable[[], Awaitable[None]]] = [
            self._lose_server,
            self._lose_server,
            self._replace_server,
            self._freeze_server,
            self._move_clock,
            self._lose_database,
            self._slow_database,
        ]
        chosen = self.random.sample(faults, self.random.randint(1, len(faults)))
        while clock.elapsed < until:
            await asyncio.sleep(self.random.random() * 8)
            if clock.elapsed < until:
                await self.random.choice(chosen)()

    async def _lose_server(self) -> None:
        if self.servers:
            self._kill(self.random.choice(self.servers))
        await asyncio.sleep(self.random.random() * 5)
        if len(self.servers) < SERVERS:
            self._start_server()

    async def _replace_server(self) -> None:
        if self.servers:
            self._stop(self.random.choice(self.servers))
        self._start_server()

    async def _freeze_server(self) -> None:
        if self.servers:
            self.random.choice(self.servers).freeze(self.random.choice([1.0, 10.0, 45.0]))

    async def _move_clock(self) -> None:
        if self.servers:
            server = self.random.choice(self.servers)
            error = self.random.choice([-3600.0, -60.0, 60.0, 3600.0])
            for one in self.world.processes:
                if one.host == server.host:
                    one.clock_error += error
            self.world.note(f"clock of {server.host} {error:+}")

    async def _lose_database(self) -> None:
        why = self.random.choice(["database is locked", "database or disk is full", "the database is away"])
        self._database.fail_for(self.random.random() * LONGEST_OUTAGE, why)

    async def _slow_database(self) -> None:
        self.world.slowness = self.random.choice([0.0005, 0.002, 0.2])
