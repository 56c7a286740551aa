"""Keep connections to tool servers open between the calls of a conversation.

A conversation has connections of its own, so that what a server keeps for a session (an open browser, say) stays with its user.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from webapp.core.database import in_database
from webapp.patterns.mcp.connection import Connection
from webapp.patterns.mcp.types import ServerInfo, ServerSpec, ToolInfo, ToolServerError
from webapp.toolservers import services
from webapp.toolservers.models import ToolServer

logger = logging.getLogger("patchbay.toolservers")
IDLE_SECONDS = 300.0
MAX_OPEN = 100
FOLLOW_SECONDS = 5.0
"""A server that says all the time that its tools changed is asked this often at most."""
Store = Callable[[int, ServerInfo, list[ToolInfo]], Awaitable[None]]


@dataclass(slots=True)
class Session:
    """An open connection, and the tools that the server listed when it was opened."""

    spec: ServerSpec
    connection: Connection
    used_at: float
    tools: dict[str, ToolInfo] = field(default_factory=dict)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server says that its list of tools changed."""
    following: asyncio.Task[None] | None = None

    async def list_tools(self) -> None:
        """List the tools anew.

        Raises:
            ToolServerError: the server does not answer.
        """
        self.tools = {tool.name: tool for tool in await self.connection.tools()}


class Sessions:
    """The open connections of one event loop.

    Args:
        store: keeps what a registered server lists after it said that its tools changed.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self._open: dict[tuple[int, str], Session] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def get(self, server_id: int, spec: ServerSpec, key: str) -> Session:
        """Return the open connection of a server and a conversation, or open one and list its tools.

        Raises:
            ToolServerError: the server cannot be reached.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections belong to their event loop
            self._loop, self._open = loop, {}
        session = self._open.get((server_id, key))
        if session is None or session.connection.broken or session.spec != spec:
            if session:
                self._close((server_id, key))
            self._make_room()
            session = self._open[server_id, key] = self._new(server_id, spec)
        session.used_at = loop.time()
        async with session.opening:
            if not session.tools:
                try:
                    await session.list_tools()
                except ToolServerError:
                    self._close((server_id, key))
                    raise
        return session

    def _new(self, server_id: int, spec: ServerSpec) -> Session:
        changed = asyncio.Event()
        session = Session(spec, Connection(spec, changed.set), asyncio.get_running_loop().time(), changed=changed)
        session.following = asyncio.create_task(self._follow(server_id, session), name=f"tools of {spec.label}")
        return session

    async def _follow(self, server_id: int, session: Session) -> None:
        """List a server's tools again each time that it says they changed, at most every `FOLLOW_SECONDS`."""
        while not session.connection.broken:
            await session.changed.wait()
            session.changed.clear()
            try:
                await session.list_tools()
                if self._store and server_id:
                    await self._store(server_id, await session.connection.info(), list(session.tools.values()))
            except ToolServerError as error:
                logger.info("the changed tools of %s could not be listed: %s", session.spec.label, error.message)
            await asyncio.sleep(FOLLOW_SECONDS)

    def _make_room(self) -> None:
        """Close the connection that was unused for longest, where there are too many."""
        while len(self._open) >= MAX_OPEN:
            idle = [(session.used_at, key) for key, session in self._open.items() if not session.connection.calls]
            if not idle:
                raise ToolServerError("Too many tool servers are in use right now. Try again in a moment.")
            self._close(min(idle)[1])

    def close_idle(self) -> None:
        """Close what was not used for a while, and what is broken."""
        now = asyncio.get_running_loop().time()
        for key, session in tuple(self._open.items()):
            connection = session.connection
            if connection.broken or (not connection.calls and now - session.used_at > IDLE_SECONDS):
                self._close(key)

    async def close_of(self, server_id: int) -> None:
        """Close the connections of a server that was changed or deleted."""
        for key in [key for key in self._open if key[0] == server_id]:
            self._close(key)

    async def close(self, server_id: int, key: str) -> None:
        """Close the connection of a server and a conversation, and wait for its end."""
        session = self._open.pop((server_id, key), None)
        if session:
            await _ended(session)

    def _close(self, key: tuple[int, str]) -> None:
        session = self._open.pop(key, None)
        if session:
            task = asyncio.ensure_future(_ended(session))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    async def aclose(self) -> None:
        """Close all."""
        for key in tuple(self._open):
            self._close(key)
        if self._closing:
            await asyncio.wait(tuple(self._closing), timeout=15)


async def _ended(session: Session) -> None:
    if session.following:
        session.following.cancel()
    await session.connection.aclose()


async def _keep(server_id: int, info: ServerInfo, tools: list[ToolInfo]) -> None:
    await in_database(services.store_tools, server=ToolServer(pk=server_id), info=info, tools=tools)


sessions = Sessions(_keep)
"""Those of this process."""
