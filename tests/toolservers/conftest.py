"""A tool server over HTTP, and a conversation whose model is scripted."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest
from asgiref.sync import sync_to_async

from chat.generation.generate import write
from chat.streaming.hub import running
from tests.chat.conftest import Socket
from tests.tool_server import McpServer
from tests.upstream import Upstream
from tests.users import Users, make_users
from webapp.backends import services as backend_services
from webapp.backends.runtime import registry
from webapp.toolservers import services, toolset
from webapp.toolservers.connections import sessions
from webapp.toolservers.models import ToolServer


@pytest.fixture
def users(transactional_db: None) -> Users:
    return make_users()


@pytest.fixture
def remote() -> Iterator[McpServer]:
    server = McpServer()
    yield server
    server.stop()


@pytest.fixture
async def server(users: Users, remote: McpServer) -> AsyncIterator[ToolServer]:
    """The tool server, added and listed."""
    added = await sync_to_async(services.add_server)(name="trial", url=remote.url)
    await toolset.refresh(added)
    yield added
    await sessions.aclose()


class Chat:
    """A conversation of the owner's, whose route `m` is asked over a scripted upstream."""

    def __init__(self, users: Users, upstream: Upstream) -> None:
        self.users = users
        self.upstream = upstream

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Socket]:
        """A socket in a fresh conversation, with the hub running."""
        async with running(write):
            socket = Socket(self.users.owner, uuid.uuid4())
            await socket.connect()
            yield socket
            await socket.close()

    def tool_results(self) -> list[str]:
        """Return the tool results of the newest request to the model."""
        messages = self.upstream.requests[-1].body["messages"]
        return [message["content"] for message in messages if message["role"] == "tool"]

    def offered(self) -> list[str]:
        """The tools that the newest request offered."""
        return [tool["function"]["name"] for tool in self.upstream.requests[-1].body.get("tools", [])]


@pytest.fixture
async def chat(users: Users, upstream: Upstream) -> AsyncIterator[Chat]:
    await sync_to_async(_add_route)(upstream)
    yield Chat(users, upstream)
    await registry.aclose()
    await asyncio.sleep(0)


def _add_route(upstream: Upstream) -> None:
    backend = backend_services.add_backend(name="scripted", base_url=upstream.base_url)
    backend_services.add_model(backend=backend, name="m")
    backend_services.set_route(name="m", steps=[(backend, "m")])
