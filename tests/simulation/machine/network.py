"""The network between the processes and the backends: connections that take time, break, and are refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from tests.simulation.machine.clock import clock

if TYPE_CHECKING:
    from tests.simulation.machine.loop import SimulatedLoop
    from tests.simulation.machine.world import World

SMALLEST = 1e-6
"""Seconds between two pieces of one connection, so that they stay in order."""


class Server(Protocol):
    """A simulated server."""

    up: bool

    def connected(self, connection: Connection) -> Callable[[bytes], None]:
        """Return the function that takes the bytes of a new connection."""
        ...


class Connection(asyncio.Transport):
    """One connection, as its client sees it. The server calls `send` and `cut`."""

    def __init__(self, loop: SimulatedLoop, protocol: asyncio.Protocol, delay: float) -> None:
        super().__init__()
        self._loop, self._protocol, self._delay = loop, protocol, delay
        self._closed = False
        self._last = 0.0
        self.receive: Callable[[bytes], None] = lambda data: None
        self.gone: Callable[[], None] = lambda: None

    # --- for the client

    def write(self, data: Any) -> None:
        if not self._closed:
            self._later(self._loop.process.world.users.loop, self.receive, bytes(data))

    def is_closing(self) -> bool:
        return self._closed

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            self._loop.call_soon(self._protocol.connection_lost, None)
            self.lost()

    def pause_reading(self) -> None:
        return

    def resume_reading(self) -> None:
        return

    # --- for the server

    def send(self, data: bytes) -> None:
        """Send bytes to the client."""
        self._later(self._loop, self._arrive, data)

    def cut(self) -> None:
        """Break the connection."""
        self._later(self._loop, self._break)

    def lost(self) -> None:
        """Tell the server that the client is gone."""
        self._later(self._loop.process.world.users.loop, self.gone)

    def _arrive(self, data: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(data)

    def _break(self) -> None:
        if not self._closed:
            self._closed = True
            self._protocol.connection_lost(ConnectionResetError("Connection reset by peer"))

    def _later(self, loop: SimulatedLoop, call: Callable[..., None], *arguments: Any) -> None:
        self._last = max(clock.monotonic() + self._delay, self._last + SMALLEST)
        loop.call_at(self._last, call, *arguments)


class Network:
    """All servers by address, and the open connections."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._servers: dict[tuple[str, int], Server] = {}
        self._open: list[tuple[SimulatedLoop, Connection]] = []

    def serve(self, host: str, port: int, server: Server) -> None:
        """Make a server reachable."""
        self._servers[host, port] = server

    async def connect(self, loop: SimulatedLoop, protocol_factory: Callable[[], asyncio.Protocol], host: str, port: int) -> Any:
        """Connect a client, or raise what the operating system would."""
        delay = 0.0002 + self._world.random.random() * 0.002
        await asyncio.sleep(delay * 2)
        server = self._servers.get((host, port))
        if server is None or not server.up:
            raise ConnectionRefusedError(111, "Connection refused")
        protocol = protocol_factory()
        connection = Connection(loop, protocol, delay)
        connection.receive = server.connected(connection)
        self._open.append((loop, connection))
        protocol.connection_made(connection)
        return connection, protocol

    def lose(self, loop: SimulatedLoop) -> None:
        """Close the connections of a dead process: the servers notice."""
        for owner, connection in self._open:
            if owner is loop:
                connection.lost()
        self._open = [entry for entry in self._open if entry[0] is not loop]
