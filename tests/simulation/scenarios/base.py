"""The interface of a scenario."""

from __future__ import annotations

import asyncio
import random
from abc import ABC, abstractmethod
from contextlib import AbstractAsyncContextManager
from typing import ClassVar

from tests.simulation.machine.loop import outside_loop
from tests.simulation.machine.world import Broken, Process, World

LOOK_SECONDS = 2.0


class Scenario(ABC):
    """One part of the product: its services, its users, and its invariants.

    Args:
        world: the run.
        servers: the living server processes, which change during the run.
    """

    name: ClassVar[str]
    settles_within: ClassVar[float] = 600.0
    """Virtual seconds after the last fault in which all work must end."""

    def __init__(self, world: World, servers: list[Process]) -> None:
        self.world = world
        self.servers = servers
        self.random = random.Random(f"{self.name} {world.seed}")

    @abstractmethod
    def prepare(self) -> None:
        """Write the rows that the run begins with."""

    @abstractmethod
    def service(self, process: Process) -> AbstractAsyncContextManager[None]:
        """Return the product's service for a server process."""

    @abstractmethod
    async def act(self, until: float) -> None:
        """Act as the users until a virtual time."""

    @abstractmethod
    def unsettled(self) -> str:
        """Return what has not ended yet; empty if all has."""

    @abstractmethod
    def check(self) -> None:
        """Raise `Broken` where an invariant does not hold at the end."""

    async def settle(self) -> None:
        """Wait until all work has ended."""
        deadline = self.world.users.loop.time() + self.settles_within
        while left := self._unsettled():
            if self.world.users.loop.time() > deadline:
                raise Broken(f"{self.name}: {self.settles_within:.0f} s after the last fault, this has not ended: {left}")
            await asyncio.sleep(LOOK_SECONDS)

    def _unsettled(self) -> str:
        with outside_loop():
            return self.unsettled()

    def any_server(self) -> Process | None:
        """Return a random living server, or None if there is none now."""
        return self.random.choice(self.servers) if self.servers else None

    async def pause(self, longest: float) -> None:
        """Wait for a random time."""
        await asyncio.sleep(self.random.random() * longest)

    def require(self, holds: object, what: str) -> None:
        """Raise `Broken` unless an invariant holds."""
        if not holds:
            raise Broken(f"{self.name}: {what}")
