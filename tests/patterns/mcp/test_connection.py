"""Connections to tool servers, over HTTP and to a process: good ones and bad ones."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx2
import pytest
from starlette.types import Receive, Scope, Send

from tests.tool_server import McpServer
from webapp.patterns.agent.interaction import Answer, Question
from webapp.patterns.mcp.connection import Connection
from webapp.patterns.mcp.transports import MAX_LINE_BYTES
from webapp.patterns.mcp.types import ServerSpec, ToolServerError

COMMAND = (sys.executable, "-m", "tests.tool_server")
SHOUT = "import sys; sys.stdin.readline(); sys.stderr.write('I am broken'); sys.exit(1)"
FLOOD = f"import sys; sys.stdin.readline(); print('x' * {MAX_LINE_BYTES + 10}); sys.stdin.read()"
BABBLE = "import sys; sys.stdin.readline()\nfor _ in range(60): print('y' * 400000)\nsys.stdin.read()"


@pytest.fixture(scope="module")
def server() -> Iterator[McpServer]:
    server = McpServer()
    yield server
    server.stop()


@pytest.fixture
async def connect(server: McpServer) -> AsyncIterator[Any]:
    """Make connections to the server, or as told, that are closed at the end."""
    made: list[Connection] = []

    def make(**fields: Any) -> Connection:
        spec = {"label": "trial", **({} if "command" in fields or "url" in fields else {"url": server.url}), **fields}
        made.append(Connection(ServerSpec(**spec)))
        return made[-1]

    yield make
    for connection in made:
        await connection.aclose()


@pytest.mark.parametrize("fields", [{}, {"command": COMMAND}])
async def test_tools_are_listed_and_called(connect: Any, fields: dict[str, Any]) -> None:
    connection = connect(**fields)
    tools = {tool.name: tool for tool in await connection.tools()}
    assert (tools["add"].read_only, tools["add"].destructive) == (True, False)
    assert (tools["note"].read_only, tools["note"].destructive) == (False, True)
    assert tools["add"].schema["required"] == ["a", "b"]
    assert (await connection.call("add", {"a": 2, "b": 3})).text == "5"
    info = await connection.info()
    assert (info.name, info.protocol) == ("trial", "2025-11-25")
    await connection.aclose()
    with pytest.raises(ToolServerError, match="ended the connection"):
        await connection.tools()


class Modern(McpServer):
    """A server of the newest protocol alone."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and headers.get(b"mcp-protocol-version", b"") < b"2026":
            await send({"type": "http.response.start", "status": 400, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await super().__call__(scope, receive, send)


@pytest.fixture
def modern() -> Iterator[McpServer]:
    server = Modern()
    yield server
    server.stop()


async def test_a_server_that_refuses_initialize_is_asked_in_the_newest_protocol(modern: McpServer) -> None:
    connection = Connection(ServerSpec("modern", url=modern.url))
    try:
        assert (await connection.info()).protocol == "2026-07-28"
        assert (await connection.call("add", {"a": 1, "b": 1})).text == "2"
    finally:
        await connection.aclose()


@pytest.mark.parametrize("kind", [McpServer, Modern])
async def test_a_server_says_that_its_tools_changed(kind: type[McpServer]) -> None:
    server, changed = kind(), asyncio.Event()
    connection = Connection(ServerSpec("trial", url=server.url), changed.set)
    try:
        await connection.call("learn", {"name": "dance"})
        await asyncio.wait_for(changed.wait(), 10)
        assert "dance" in {tool.name for tool in await connection.tools()}
    finally:
        await connection.aclose()
        server.stop()


async def test_progress_is_reported(connect: Any) -> None:
    seen: list[tuple[float, float | None, str]] = []

    async def report(done: float, total: float | None, message: str) -> None:
        seen.append((done, total, message))

    assert (await connect().call("count", {"steps": 2}, report=report)).text == "counted"
    assert seen == [(1.0, 2.0, "step 1"), (2.0, 2.0, "step 2")]


async def test_the_clock_of_a_call_stands_still_while_the_user_is_asked(connect: Any) -> None:
    async def ask(question: Question) -> Answer:
        assert question.message == "Who are you?"
        await asyncio.sleep(1.5)
        return Answer("accept", {"name": "Ada", "age": 36})

    assert "Ada" in (await connect(call_seconds=1).call("greet", {}, ask=ask)).text


async def test_without_a_user_a_question_is_declined(connect: Any) -> None:
    assert (await connect().call("greet", {})).text.startswith("decline")


@pytest.mark.parametrize(
    ("tool", "fields", "message"),
    [
        ("hang", {"call_seconds": 0.3}, "did not finish hang within 0.3 s"),
        ("flood", {}, "more than 16 MB"),
        ("die", {"command": COMMAND}, "ended the connection"),
    ],
)
async def test_a_bad_call_fails_with_a_sentence(connect: Any, tool: str, fields: dict[str, Any], message: str) -> None:
    connection = connect(**fields)
    with pytest.raises(ToolServerError, match=message):
        await connection.call(tool, {})
    assert connection.calls == 0


async def test_an_unknown_tool_is_an_error_of_the_result(connect: Any) -> None:
    assert (await connect().call("no such tool", {})).is_error


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("/no/such/program",), "cannot be started"),
        ((sys.executable, "-c", SHOUT), "I am broken"),
        ((sys.executable, "-c", FLOOD), "longer than 4 MB"),
        ((sys.executable, "-c", BABBLE), "more than 16 MB"),
    ],
)
async def test_a_process_that_is_no_server_is_said(connect: Any, command: tuple[str, ...], message: str) -> None:
    with pytest.raises(ToolServerError, match=message):
        await connect(command=command).tools()


async def test_a_process_that_ignores_its_end_is_killed(connect: Any) -> None:
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    connection = connect(command=(sys.executable, "-c", stubborn), connect_seconds=1.5)
    with pytest.raises(ToolServerError, match=r"did not answer within 1.5 s"):
        await connection.tools()
    assert connection.broken


async def test_a_process_gets_no_variables_but_its_own(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHBAY_SECRET_KEY", "hidden")
    shout = "import os, sys; sys.stderr.write(','.join(sorted(os.environ)))"
    connection = connect(command=(sys.executable, "-c", shout), environment={"TOKEN": "x"})
    with pytest.raises(ToolServerError) as failure:
        await connection.tools()
    assert "TOKEN" in failure.value.message
    assert "PATCHBAY_SECRET_KEY" not in failure.value.message


async def test_addresses_that_are_not_allowed_are_not_called(connect: Any, server: McpServer) -> None:
    with pytest.raises(ToolServerError, match="not a public address"):
        await connect(url=server.url, public=True).tools()
    with pytest.raises(ToolServerError, match="link-local or metadata"):
        await connect(url="http://169.254.169.254/mcp").tools()


async def test_a_server_that_wants_a_token_says_so(connect: Any) -> None:
    guarded = McpServer()
    guarded.token = "right"
    try:
        with pytest.raises(ToolServerError, match="401"):
            await connect(url=guarded.url).tools()
        assert await connect(url=guarded.url, headers={"authorization": "Bearer right"}).tools()
    finally:
        guarded.stop()


async def test_a_compressed_answer_is_refused(connect: Any) -> None:
    class Packed(McpServer):
        async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await send({"type": "http.response.start", "status": 200, "headers": [(b"content-encoding", b"gzip")]})
                await send({"type": "http.response.body", "body": b""})

    packed = Packed()
    try:
        with pytest.raises(ToolServerError, match="compressed"):
            await connect(url=packed.url).tools()
    finally:
        packed.stop()


def test_the_secrets_of_a_spec_do_not_show() -> None:
    spec = ServerSpec("x", headers={"a": "secret"}, environment={"b": "secret"}, authorization=httpx2.BasicAuth("u", "p"))
    assert "secret" not in repr(spec)


class Silent(Modern):
    """A server of the newest protocol that takes no subscriptions."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if dict(scope.get("headers", ())).get(b"mcp-method") == b"subscriptions/listen":
            await send({"type": "http.response.start", "status": 404, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        await super().__call__(scope, receive, send)


async def test_a_server_that_does_not_say_when_its_tools_change_is_used_all_the_same() -> None:
    server, changed = Silent(), asyncio.Event()
    connection = Connection(ServerSpec("silent", url=server.url), changed.set)
    try:
        assert (await connection.call("learn", {"name": "dance"})).text == "learned"
        assert "dance" in {tool.name for tool in await connection.tools()}
        assert not changed.is_set()
    finally:
        await connection.aclose()
        server.stop()


async def test_without_a_listener_the_message_is_passed_over(connect: Any) -> None:
    connection = connect()
    assert (await connection.call("learn", {"name": "sing"})).text == "learned"
    assert (await connection.call("add", {"a": 1, "b": 1})).text == "2"
