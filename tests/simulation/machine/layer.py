"""The channel layer between the simulated processes: it takes time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.simulation.machine.world import Process, World


class SimulatedLayer:
    """Implement the part of `channels.layers.BaseChannelLayer` that the product uses."""

    world: World

    def __init__(self, **_config: Any) -> None:
        self._numbers = count()
        self._channels: dict[str, tuple[Process, asyncio.Queue[dict[str, Any]]]] = {}
        self._groups: dict[str, dict[str, None]] = defaultdict(dict)

    def begin(self, world: World) -> None:
        """Begin a run."""
        self.world = world
        self._numbers = count()
        self._channels.clear()
        self._groups.clear()

    async def new_channel(self, prefix: str = "specific") -> str:
        process = self.world.now_running
        assert process is not None, "only processes use the layer"
        name = f"{prefix}.{next(self._numbers)}"
        self._channels[name] = process, asyncio.Queue()
        return name

    async def group_add(self, group: str, channel: str) -> None:
        self._groups[group][channel] = None

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        for channel in self._groups[group]:
            process, queue = self._channels[channel]
            if process.alive:
                process.loop.call_later(self.world.random.random() * 0.02, queue.put_nowait, dict(message))

    async def receive(self, channel: str) -> dict[str, Any]:
        return await self._channels[channel][1].get()
