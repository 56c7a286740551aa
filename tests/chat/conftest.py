"""A running hub with a scripted runner, sockets, and the usual users."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
from channels.testing import WebsocketCommunicator

from chat.consumers import ChatConsumer
from chat.services import Started
from chat.streaming.generation_state import GenerationState
from chat.streaming.hub import Hub, Runner, running
from tests.users import Users, make_users
from webapp.accounts.models import User


class Page:
    """Apply the frames as a browser would, as far as the tests need it: elements by id, with appended and replaced HTML."""

    def __init__(self) -> None:
        self.frames: list[dict[str, Any]] = []

    def take(self, frame: dict[str, Any]) -> None:
        self.frames.append(frame)

    @property
    def html(self) -> str:
        return "\n".join(frame["content"] for frame in self.frames)

    @property
    def last_status(self) -> str:
        found = re.findall(r'data-status="(\w+)"', self.html)
        return found[-1] if found else ""


class Socket:
    """A client that knows CONTRACT.md and no more."""

    def __init__(self, user: User, conversation_id: UUID, query: str = "") -> None:
        app: Any = ChatConsumer.as_asgi()
        self.page = Page()
        self.conversation_id = conversation_id
        self._communicator = WebsocketCommunicator(app, "/ws/")
        self._communicator.scope.update(user=user, url_route={"kwargs": {"conversation_id": conversation_id}}, query_string=query.encode())

    async def connect(self) -> tuple[bool, int | None]:
        ok, code = await self._communicator.connect(timeout=5)
        return ok, code

    async def say(self, action: str = "send", **fields: Any) -> None:
        await self._communicator.send_to(text_data=json.dumps({"headers": {}, "body": {"action": action, **fields}}))

    async def raw(self, text: str) -> None:
        await self._communicator.send_to(text_data=text)

    async def frame(self, seconds: float = 5) -> dict[str, Any]:
        frame: dict[str, Any] = json.loads(await self._communicator.receive_from(timeout=seconds))
        self.page.take(frame)
        return frame

    async def until(self, condition: Callable[[Page], bool], seconds: float = 8) -> Page:
        async with asyncio.timeout(seconds):
            while not condition(self.page):
                await self.frame(seconds)
        return self.page

    async def until_ended(self, seconds: float = 8) -> Page:
        return await self.until(lambda page: page.last_status not in {"", "streaming"}, seconds)

    async def closed(self, seconds: float = 8) -> int:
        """Wait for the server to close; the code."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self._communicator.receive_output(seconds)
                if message["type"] == "websocket.close":
                    return int(message.get("code", 1000))

    async def close(self) -> None:
        await self._communicator.disconnect()


@pytest.fixture
def users(transactional_db: None) -> Users:
    return make_users()


Serve = Callable[..., Any]


@pytest.fixture
def serve() -> Callable[[Runner], Any]:
    """`async with serve(runner) as hub`: the hub of this process, writing answers by `runner`."""

    @asynccontextmanager
    async def open_hub(runner: Runner) -> AsyncGenerator[Hub, None]:
        from chat.streaming import hub as module

        async with running(runner):
            yield module.hub()

    return open_hub


def saying(*pieces: str, pace: float = 0.0, then: Callable[[], Awaitable[object]] | None = None) -> Runner:
    """A runner that says the pieces."""

    async def run(live: GenerationState, started: Started) -> None:
        for piece in pieces:
            live.apply({"k": "text", "d": piece})
            await asyncio.sleep(pace)
        if then:
            await then()

    return run


@pytest.fixture
def fresh() -> UUID:
    return uuid.uuid4()
