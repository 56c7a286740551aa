"""The product in this process, with servers of many dialects behind it over real HTTP."""

from __future__ import annotations

import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest
from asgiref.sync import sync_to_async

from chat.generation import generate
from chat.models import Message
from chat.streaming.hub import running
from tests.chat.conftest import Page, Socket
from tests.dialects.server import Server
from tests.gateway.api import Api, sse
from tests.users import Users, make_users
from webapp.backends.models import Backend
from webapp.backends.runtime import budgets, registry
from webapp.backends.services import add_backend, add_model, set_route
from webapp.core.database import in_database
from webapp.gateway import auth

CASES = Path(__file__).parent / "cases"
ASK: list[dict[str, Any]] = [{"role": "user", "content": "hello"}]
TOOLS = [{"type": "function", "function": {"name": "f", "description": "F", "parameters": {"type": "object", "properties": {}}}}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}


def with_image(text: str = "what is it?") -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": text}, IMAGE]}]


@dataclass
class Streamed:
    """A streamed answer, put together."""

    status: int
    events: list[Any] = field(default_factory=list)

    @property
    def chunks(self) -> list[Any]:
        return [event for event in self.events if event != "[DONE]"]

    @property
    def text(self) -> str:
        deltas = [choice["delta"] for chunk in self.chunks for choice in chunk["choices"]]
        return "".join(delta["content"] for delta in deltas if isinstance(delta.get("content"), str))

    @property
    def finish_reasons(self) -> list[str]:
        return [choice["finish_reason"] for chunk in self.chunks for choice in chunk["choices"] if choice.get("finish_reason")]

    @property
    def calls(self) -> dict[int, dict[str, str]]:
        """Name and arguments of each tool call, by index."""
        found: dict[int, dict[str, str]] = {}
        for chunk in self.chunks:
            for choice in chunk["choices"]:
                for call in choice["delta"].get("tool_calls") or ():
                    whole = found.setdefault(call["index"], {"name": "", "arguments": ""})
                    function = call.get("function") or {}
                    whole["name"] += function.get("name") or ""
                    whole["arguments"] += function.get("arguments") or ""
        return found


class Desk:
    """A client of the gateway and of the chat, and the servers behind them."""

    def __init__(self, api: Api, server: Server, users: Users) -> None:
        self.api = api
        self.server = server
        self.users = users

    async def add(self, name: str) -> str:
        """Add a dialect as a backend; return the name of its model."""
        await in_database(self._add, name)
        return f"{name}/m"

    def _add(self, name: str) -> Backend:
        backend = add_backend(name=name, base_url=f"http://127.0.0.1:{self.server.server_port}/{name}/v1", api_key="k-123456789")
        add_model(backend=backend, name="m")
        return backend

    async def route(self, name: str, **options: Any) -> str:
        """Put a dialect before `fallback` in a route; return the route's name."""

        def make() -> None:
            set_route(name="r", steps=[(self._add(name), "m"), (self._add("fallback"), "m")], **options)

        await in_database(make)
        return "r"

    async def ask(self, model: str, **fields: Any) -> httpx2.Response:
        return await self.api.post("chat/completions", {"model": model, "messages": ASK, **fields})

    async def answer(self, model: str, **fields: Any) -> str:
        """Return the text of a whole answer."""
        response = await self.ask(model, **fields)
        assert response.status_code == 200, response.text
        return str(response.json()["choices"][0]["message"]["content"])

    async def stream(self, model: str, **fields: Any) -> Streamed:
        response = await self.ask(model, stream=True, **fields)
        events = [event async for event in sse(response)] if response.status_code == 200 else []
        return Streamed(response.status_code, events)

    async def error(self, model: str, **fields: Any) -> tuple[int, dict[str, Any]]:
        """Return the status and the error object of a request that fails."""
        response = await self.ask(model, **fields)
        assert response.status_code >= 400, response.text
        return response.status_code, response.json()["error"]

    @asynccontextmanager
    async def chat(self, model: str) -> AsyncIterator[Conversation]:
        """Open a conversation with a model."""
        async with running(generate.write):
            conversation = Conversation(self.users, model)
            await conversation.socket.connect()
            yield conversation
            await conversation.socket.close()


class Conversation:
    """A conversation over the websocket."""

    def __init__(self, users: Users, model: str) -> None:
        self.id = uuid.uuid4()
        self.socket = Socket(users.owner, self.id)
        self.model = model

    async def say(self, text: str = "hello") -> Page:
        self.socket.page = Page()
        await self.socket.say(text=text, model=self.model)
        return await self.socket.until_ended(30)

    async def last(self) -> Message:
        """Return the last message of the model."""
        found = await Message.objects.filter(conversation_id=self.id, role="assistant").order_by("created_at").alast()
        assert found is not None
        return found

    async def parts(self) -> list[tuple[str, str]]:
        """Return the kinds and texts of the last message's parts."""
        return [(part["kind"], part.get("text", "")) for part in (await self.last()).parts]


@pytest.fixture(scope="session")
def dialect_server() -> Iterator[Server]:
    server = Server(0, CASES)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
async def desk(transactional_db: None, dialect_server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Desk]:
    auth.tokens.forget()
    monkeypatch.setattr(registry, "spending", budgets.Spending())
    dialect_server.requests.clear()
    users = await sync_to_async(make_users)()
    api = Api(users)
    await api.use_token(users.owner)
    yield Desk(api, dialect_server, users)
    await api.aclose()
    await registry.aclose()
