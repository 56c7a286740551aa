"""The way to an application in the same process: streams as they are written, and ends when the reader leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import openai
import pytest

from webapp.builtin.asgi import BuiltinBackend
from webapp.builtin.transport import BUFFERED_MESSAGES, InProcess
from webapp.server.asgi import Application, Receive, Scope, Send

START = {"type": "http.response.start", "status": 200, "headers": [(b"x-a", b"1")]}


@pytest.fixture
async def connect() -> AsyncIterator[Callable[[Application], httpx2.AsyncClient]]:
    clients: list[httpx2.AsyncClient] = []

    def connect(app: Application) -> httpx2.AsyncClient:
        clients.append(httpx2.AsyncClient(transport=InProcess(app), base_url="http://app"))
        return clients[-1]

    yield connect
    for client in clients:
        await client.aclose()


class Endless:
    """Writes lines for ever, and remembers that it was stopped and how far it got."""

    def __init__(self) -> None:
        self.written = 0
        self.stopped = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send(START)
            while True:
                await send({"type": "http.response.body", "body": b"line\n", "more_body": True})
                self.written += 1
        finally:
            self.stopped.set()


async def test_the_application_sees_the_request(connect: Any) -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.update(scope, body=(await receive())["body"])
        await send(START)
        await send({"type": "http.response.body", "body": b"ok"})

    response = await connect(app).post("/v1/x?q=1", content=b"hello", headers={"X-Key": "k"})
    assert (response.status_code, response.text, response.headers["x-a"]) == (200, "ok", "1")
    assert (seen["path"], seen["query_string"], seen["method"], seen["body"]) == ("/v1/x", b"q=1", "POST", b"hello")
    assert (b"x-key", b"k") in seen["headers"]


async def test_a_reader_that_leaves_ends_the_application(connect: Any) -> None:
    app = Endless()
    async with connect(app).stream("GET", "/") as response:
        async for line in response.aiter_lines():
            assert line == "line"
            break
    assert app.stopped.is_set()


async def test_the_application_runs_only_a_little_ahead_of_its_reader(connect: Any) -> None:
    app = Endless()
    async with connect(app).stream("GET", "/"):
        await asyncio.sleep(0.02)
        assert app.written <= BUFFERED_MESSAGES


async def test_giving_up_before_the_answer_ends_the_application(connect: Any) -> None:
    stopped = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.sleep(30)
        finally:
            stopped.set()

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02):
            await connect(app).get("/")
    await asyncio.wait_for(stopped.wait(), 1)


@pytest.mark.parametrize("said", [[], [START], [START, {"type": "http.response.body", "body": b"half", "more_body": True}]])
async def test_an_application_that_fails_is_a_broken_connection(connect: Any, said: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for message in said:
            await send(message)
        raise LookupError("bug")

    with pytest.raises(httpx2.RemoteProtocolError):
        await connect(app).get("/")
    assert "the application failed" in caplog.text


async def test_the_built_in_backend_streams_through_it_and_stops_with_its_reader() -> None:
    http = httpx2.AsyncClient(transport=InProcess(BuiltinBackend(pace=0.001)))
    async with openai.AsyncOpenAI(base_url="http://builtin/v1", api_key="none", http_client=http) as client:
        before = len(asyncio.all_tasks())
        stream = await client.chat.completions.create(
            model="patchbay-builtin", messages=[{"role": "user", "content": "Who are you?"}], stream=True
        )
        said = [await anext(stream) for _ in range(5)]
        assert len(said) == 5
        await stream.close()
        assert len(asyncio.all_tasks()) == before
