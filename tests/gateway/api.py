"""Clients of the API for the gateway's tests."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2
import openai
from asgiref.sync import sync_to_async

from tests.upstream import Upstream
from tests.users import Users
from webapp.accounts.models import User
from webapp.asgi import application
from webapp.backends.models import ApiToken, Backend, BackendModel
from webapp.backends.services import add_backend, create_token, set_route

BASE_URL = "http://testserver/v1"
MESSAGES: Any = [{"role": "user", "content": "hi"}]
CHAT = {"model": "m", "messages": MESSAGES}


class Api:
    """A client in process: raw over `http`, or through the openai package with `sdk()`."""

    def __init__(self, users: Users) -> None:
        self.users = users
        self.token = ""
        self.row: ApiToken | None = None
        transport = httpx2.ASGITransport(application, raise_app_exceptions=True)
        self.http = httpx2.AsyncClient(transport=transport, base_url=BASE_URL, timeout=20)

    async def use_token(self, user: User, **limits: Any) -> str:
        """Make a token and send it from now on."""
        self.row, self.token = await sync_to_async(create_token)(user=user, label="test", **limits)
        self.http.headers["authorization"] = f"Bearer {self.token}"
        return self.token

    def sdk(self, *, retries: int = 0) -> openai.AsyncOpenAI:
        """The openai package's client of this API."""
        return openai.AsyncOpenAI(api_key=self.token, base_url=BASE_URL, http_client=self.http, max_retries=retries)

    async def post(self, path: str, body: Any = None, **options: Any) -> httpx2.Response:
        """POST JSON, or `content` as it is."""
        if "content" not in options and "data" not in options:
            options["json"] = body
        return await self.http.post(path, **options)

    async def chat(self, **fields: Any) -> httpx2.Response:
        return await self.post("chat/completions", {**CHAT, **fields})

    async def serve(self, *upstreams: Upstream, route: str = "m", model: str = "m", **options: Any) -> list[Backend]:
        """Backends `backend0`, `backend1` … at the upstreams, and a route over them in that order."""
        return await sync_to_async(serve)(*upstreams, route=route, model=model, **options)

    async def aclose(self) -> None:
        await self.http.aclose()


def serve(*upstreams: Upstream | str, route: str, model: str, **options: Any) -> list[Backend]:
    """Backends at the upstreams (or addresses), and a route over them in that order."""
    backends = []
    for number, upstream in enumerate(upstreams):
        url = upstream if isinstance(upstream, str) else upstream.base_url
        backend = add_backend(name=f"backend{number}", base_url=url, api_key="upstream-key-123456")
        BackendModel.objects.create(backend=backend, name=model)
        backends.append(backend)
    set_route(name=route, steps=[(backend, model) for backend in backends], **options)
    return backends


@dataclass
class Exchange:
    """One request played into the application by hand: what it sent back, when, and a client that can go away at will."""

    path: str
    body: bytes = b""
    method: str = "POST"
    headers: Mapping[str, str] = field(default_factory=dict)
    leaves_at_the_end: bool = False
    sent: list[Mapping[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gone = asyncio.Event()
        self.first_piece = asyncio.Event()
        self._pending = [{"type": "http.request", "body": self.body, "more_body": False}]

    async def run(self) -> None:
        scope = {
            "type": "http",
            "method": self.method,
            "path": f"/v1/{self.path}",
            "query_string": b"",
            "headers": [(name.lower().encode(), value.encode()) for name, value in self.headers.items()],
        }
        await application(scope, self._receive, self._send)

    async def _receive(self) -> Mapping[str, Any]:
        if self._pending:
            return self._pending.pop()
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Mapping[str, Any]) -> None:
        self.sent.append(message)
        if message.get("body"):
            self.first_piece.set()
        if self.leaves_at_the_end and message["type"] == "http.response.body" and not message.get("more_body"):
            self.gone.set()
            await asyncio.sleep(0)

    @property
    def raw(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


async def sse(response: httpx2.Response) -> AsyncIterator[Any]:
    """The data of a streamed response's events, decoded; `[DONE]` as text."""
    for line in response.text.splitlines():
        if line.startswith("data: "):
            data = line[6:]
            yield data if data == "[DONE]" else json.loads(data)
