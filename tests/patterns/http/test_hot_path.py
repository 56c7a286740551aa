"""Hot calls go out as copies of the package's request: nothing in them may differ from what the package would send."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest

from webapp.patterns import errors
from webapp.patterns.http.hot_path import HotPathClient, merged
from webapp.patterns.openai.backend import OpenAIBackend
from webapp.patterns.types import Request

ANSWER = {"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]}
ASK = Request({"model": "m", "messages": [{"role": "user", "content": "Hé"}]})


class Recorded:
    """A client that keeps what it sent, and answers with `status`."""

    def __init__(self, status: int = 200, headers: dict[str, str] | None = None, **options: bool) -> None:
        self.sent: list[httpx2.Request] = []
        self._response = (status, headers or {})
        self.http = httpx2.AsyncClient(transport=httpx2.MockTransport(self._answer), **options)  # type: ignore[arg-type]  # follow_redirects

    def _answer(self, request: httpx2.Request) -> httpx2.Response:
        self.sent.append(request)
        return httpx2.Response(self._response[0], headers=self._response[1], json=ANSWER)


@pytest.mark.parametrize("base_url", ["http://up.test/v1", "https://ann:secret@up.test:8443/deep/v1/"])
@pytest.mark.parametrize("headers", [{}, {"X-Team": "a", "User-Agent": "own/1", "Content-Type": "application/json; charset=utf-8"}])
async def test_a_hot_call_says_what_the_package_would(base_url: str, headers: dict[str, str]) -> None:
    client = Recorded()
    backend = OpenAIBackend("up", base_url, api_key="sk-0123456789abcdef", headers=headers, http_client=client.http)
    await backend.send(ASK)
    await backend.send(ASK)
    await backend._request("POST", ASK.path, asyncio.get_running_loop().time() + 5, content=client.sent[0].content)
    first, again, packages = client.sent
    assert first.url == packages.url
    assert sorted(first.headers.multi_items()) == sorted(again.headers.multi_items()) == sorted(packages.headers.multi_items())
    assert first.headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize("user", ["", "ann:secret@"])
async def test_the_bytes_on_the_wire_are_those_of_the_package(user: str) -> None:
    async with recording_server() as (port, sent):
        backend = OpenAIBackend("up", f"http://{user}127.0.0.1:{port}/deep/v1", api_key="sk-0123456789abcdef", headers={"X-Team": "a"})
        await backend.send(ASK)
        content = sent[0].partition(b"\r\n\r\n")[2]
        response = await backend._request("POST", ASK.path, asyncio.get_running_loop().time() + 5, content=content)
        await response.aclose()
        await backend.aclose()
    ours, packages = (raw.partition(b"\r\n\r\n") for raw in sent)
    assert ours[2] == packages[2] == content
    (line, *headers), (their_line, *their_headers) = ours[0].split(b"\r\n"), packages[0].split(b"\r\n")
    assert line == their_line == b"POST /deep/v1/chat/completions HTTP/1.1"
    assert sorted(name.lower() for name in headers) == sorted(name.lower() for name in their_headers)


@asynccontextmanager
async def recording_server() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that answers everything: its port, and the requests that came."""
    sent: list[bytes] = []
    body = json.dumps(ANSWER).encode()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await _head(reader):
            length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
            sent.append(head + await reader.readexactly(length))
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], sent


async def _head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def test_each_path_has_its_own_address() -> None:
    client = Recorded()
    backend = OpenAIBackend("up", "http://up.test/v1", http_client=client.http)
    await backend.send(ASK)
    await backend.send(Request({"model": "m", "prompt": "Hi"}, path="completions"))
    assert [request.url.path for request in client.sent] == ["/v1/chat/completions", "/v1/completions"]


def test_headers_of_one_request_replace_those_of_all() -> None:
    own = [(b"Accept", b"a"), (b"Content-Type", b"application/json")]
    assert merged(own, {}) is own
    assert merged(own, {"content-type": "text/plain"}) == [(b"Accept", b"a"), (b"content-type", b"text/plain")]
    with pytest.raises(httpx2.LocalProtocolError):
        merged(own, {"x": "a\nb"})


async def test_a_redirect_is_not_followed_by_a_client_that_would() -> None:
    client = Recorded(307, {"location": "http://169.254.169.254/"}, follow_redirects=True)
    with pytest.raises(errors.BackendError, match="HTTP 307"):
        await OpenAIBackend("up", "http://up.test/v1", http_client=client.http).send(ASK)
    assert len(client.sent) == 1


async def test_a_closed_backend_says_so() -> None:
    backend = OpenAIBackend("up", "http://127.0.0.1:9/v1")
    with pytest.raises(errors.Unreachable):
        await backend.send(ASK)
    await backend.aclose()
    with pytest.raises(errors.Unreachable, match="closed"):
        await backend.send(ASK)


async def test_callers_that_wait_for_the_package_together_share_one_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client built twice would take the slow way: the second would find the first's httpx2 client and send through it."""
    from webapp.patterns.openai import backend as door

    async def loading() -> None:
        await asyncio.sleep(0)

    loaded = door.package()
    backend = OpenAIBackend("up", "http://127.0.0.1:9/v1")
    with monkeypatch.context() as cold:
        cold.delitem(sys.modules, "openai")
        cold.setattr(door, "warm_up", loading)
        cold.setattr(door, "package", lambda: loaded)
        clients = await asyncio.gather(*(backend._ready() for _ in range(3)))
    assert len({id(client) for client in clients}) == 1
    assert isinstance(backend._poster, HotPathClient)
    await backend.aclose()
