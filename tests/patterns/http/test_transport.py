"""Our own connections: HTTP/1.1 as it is really spoken, reuse, bounds, and addresses checked when they are connected to."""

from __future__ import annotations

import asyncio
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest

from tests.certificates import self_signed
from tests.upstream import Upstream, mute_port, says
from webapp.patterns.http import connection as connections
from webapp.patterns.http import transport as transports
from webapp.patterns.http.transport import ForbiddenAddress, PoolTransport, make_transport

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"


@asynccontextmanager
async def speaking(talk: Talk, *, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server that says what it is told to; its address."""
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    scheme = "https" if context else "http"
    async with server:
        yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


def answering(*answers: bytes, close: bool = False) -> Talk:
    """A conversation: each answer after one request's head."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        if not close:
            await reader.read()
        writer.close()

    return talk


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(transport=PoolTransport(), timeout=2) as made:
        yield made


async def get(client: httpx2.AsyncClient, *answers: bytes, close: bool = False) -> httpx2.Response:
    async with speaking(answering(*answers, close=close)) as address:
        return await client.get(address)


CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (OK, "hi"),
        (CHUNKED + b"1\r\nh\r\n1\r\ni\r\n0\r\n\r\n", "hi"),
        (CHUNKED + b"2\r\nhi\r\n0\r\nx-trailer: 1\r\n\r\n", "hi"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK, "hi"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ""),
    ],
)
async def test_answers_of_every_frame_are_read(client: httpx2.AsyncClient, answer: bytes, text: str) -> None:
    response = await get(client, answer)
    assert (response.text, "link" in response.headers, "x-trailer" in response.headers) == (text, False, False)


async def test_a_body_may_end_with_its_connection(client: httpx2.AsyncClient) -> None:
    assert (await get(client, b"HTTP/1.1 200 OK\r\n\r\nhi", close=True)).text == "hi"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"SSH-2.0-OpenSSH\r\n", "HTTP/1.1"),
        (b"HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nabc", "HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi", "before the answer was complete"),
        (CHUNKED + b"2\r\nhi\r\n", "before the answer was complete"),
        (CHUNKED + b"zz\r\n", "HTTP/1.1"),
        (b"", "before the answer was complete"),
        (b"HTTP/1.1 200 OK\r\n" + b"x-a: " + b"a" * 300_000, "head of the response is longer"),
    ],
)
async def test_what_is_no_answer_is_an_error(client: httpx2.AsyncClient, answer: bytes, why: str) -> None:
    with pytest.raises(httpx2.RemoteProtocolError, match=why):
        await get(client, answer, close=True)


async def test_a_reset_is_an_error(client: httpx2.AsyncClient) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(CHUNKED)
        await writer.drain()
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with speaking(talk) as address:
        with pytest.raises(httpx2.TransportError):
            await client.get(address)


async def test_an_answer_that_nobody_asked_for_ends_the_connection(client: httpx2.AsyncClient) -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heads.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(OK + (b"HTTP/1.1 200 OK\r\nx-a: b\r\ncontent-length: 4\r\n\r\nevil" if len(heads) == 1 else b""))
        await reader.read()
        writer.close()

    async with speaking(talk) as address:
        assert [(await client.get(address)).text for _ in range(2)] == ["hi", "hi"]


async def test_a_connection_is_used_again_and_a_closed_one_is_replaced(client: httpx2.AsyncClient) -> None:
    met: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.append(0)
        for _ in range(2):
            await reader.readuntil(b"\r\n\r\n")
            met[-1] += 1
            writer.write(OK)
        await reader.readuntil(b"\r\n\r\n")  # the third request is read, and the connection closed without an answer
        writer.close()

    async with speaking(talk) as address:
        for _ in range(3):
            assert (await client.post(address, content=b"x")).text == "hi"
    assert met == [2, 1]


async def test_a_request_is_sent_again_only_where_it_can_be(client: httpx2.AsyncClient) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"x"

    async with speaking(answering(OK, close=True)) as address:
        pool = client._transport
        assert isinstance(pool, PoolTransport)
        await client.get(address)
        [kept] = next(iter(pool._idle.values()))
        kept.abort = lambda: None  # type: ignore[method-assign]
        await asyncio.sleep(0.02)
    with pytest.raises(httpx2.ConnectError):
        await client.post(address, content=body())


async def test_a_kept_connection_that_broke_in_its_answer_is_not_tried_again(client: httpx2.AsyncClient) -> None:
    async with speaking(answering(OK, b"HTTP/1.1 2", close=True)) as address:
        await client.get(address)
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get(address)


async def test_idle_connections_age_and_are_not_hoarded(monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> None:
    monkeypatch.setattr(transports, "MAX_IDLE", 2)
    upstream.default = says("x", first=0.05)
    pool = PoolTransport(idle_seconds=0.1)
    async with httpx2.AsyncClient(transport=pool) as client:
        await asyncio.gather(*(client.post(f"{upstream.base_url}/chat/completions", json={}) for _ in range(4)))
        assert [len(kept) for kept in pool._idle.values()] == [2]
        await asyncio.sleep(0.12)
        await client.get(f"{upstream.base_url}/models")
        assert len(upstream.peers) == 5


def test_connections_of_another_event_loop_are_left_alone(upstream: Upstream) -> None:
    pool = PoolTransport()
    client = httpx2.AsyncClient(transport=pool)

    async def once() -> int:
        return (await client.get(f"{upstream.base_url}/models")).status_code

    assert [asyncio.run(once()) for _ in range(2)] == [200, 200]
    assert len(upstream.peers) == 2


async def test_closing_the_pool_closes_what_is_under_way(upstream: Upstream) -> None:
    upstream.default = says("x", first=5)
    pool = PoolTransport()
    client = httpx2.AsyncClient(transport=pool, timeout=None)
    await client.get(f"{upstream.base_url}/models")
    task = asyncio.create_task(client.post(f"{upstream.base_url}/chat/completions", json={}))
    await asyncio.to_thread(upstream.wait_for, 2)
    await pool.aclose()
    with pytest.raises(httpx2.ReadError):
        await task
    with pytest.raises(httpx2.ConnectError, match="closed"):
        await client.get(f"{upstream.base_url}/models")
    assert await asyncio.to_thread(upstream.requests[1].gone.wait, 1)


async def test_a_body_is_read_no_faster_than_it_is_used(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HIGH_WATER", 1000)
    size, sent = 30_000_000, 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % size)
        while sent < size:
            writer.write(b"x" * 100_000)
            sent += 100_000
            await writer.drain()
        await reader.read()
        writer.close()

    async with speaking(talk) as address, client.stream("GET", address) as response:
        await asyncio.sleep(0.2)
        assert sent < size
        assert len(await response.aread()) == size


async def test_a_connection_whose_body_was_left_unread_is_used_again(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HIGH_WATER", 1)
    async with speaking(answering(OK, OK.replace(b"hi", b"ho"))) as address:
        async with client.stream("GET", address) as response:
            assert response.status_code == 200
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        await response.stream.aclose()  # a second time, which changes nothing
        assert (await client.get(address)).text == "ho"


async def test_a_body_that_came_before_its_connection_closed_can_still_be_read(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HIGH_WATER", 1)
    async with speaking(answering(OK, close=True)) as address, client.stream("GET", address) as response:
        [kept] = client._transport._busy  # type: ignore[attr-defined]
        kept._resume()
        await asyncio.sleep(0.05)
        kept._paused = True
        assert await response.aread() == b"hi"


async def test_a_connection_that_was_lost_at_once_is_an_error() -> None:
    with pytest.raises(httpx2.ConnectError, match="closed"):
        await connections.Connection(lambda _: None).exchange(httpx2.Request("GET", "http://x/"))


async def test_a_large_body_goes_out_in_pieces(client: httpx2.AsyncClient) -> None:
    heard = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        while not heard.endswith(b"0\r\n\r\n") if b"chunked" in head else len(heard) < 24_000_000:
            heard.extend(await reader.read(1_000_000))
        writer.write(OK)
        await reader.read()
        writer.close()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"y" * 8_000_000

    async with speaking(talk) as address:
        assert (await client.post(address, content=pieces())).text == "hi"
    assert heard.count(b"y") == 24_000_000
    heard.clear()
    async with speaking(talk) as address:
        assert (await client.post(address, content=pieces(), headers={"content-length": "24000000"})).text == "hi"
    assert heard == b"y" * 24_000_000


async def test_a_server_that_answers_before_the_body_is_out_is_heard(client: httpx2.AsyncClient) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        while True:
            yield b"y" * 100_000
            await asyncio.sleep(0)

    async with speaking(answering(b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n", close=True)) as address:
        assert (await client.post(address, content=pieces())).status_code == 413


@pytest.mark.parametrize("headers", [{"x-a": "b\r\nx-c: d"}, {"x-a": "b\0"}])
async def test_a_header_cannot_smuggle_another(client: httpx2.AsyncClient, headers: dict[str, str]) -> None:
    with pytest.raises(httpx2.LocalProtocolError):
        async with speaking(answering(OK)) as address:
            await client.get(address, headers=headers)


async def test_only_http_is_spoken(client: httpx2.AsyncClient) -> None:
    with pytest.raises(httpx2.UnsupportedProtocol):
        await PoolTransport().handle_async_request(httpx2.Request("GET", "ftp://127.0.0.1/"))


async def test_a_trusted_certificate_is_trusted_and_others_are_not() -> None:
    path = Path(tempfile.mkdtemp()) / "server.pem"
    await asyncio.to_thread(path.write_bytes, self_signed("127.0.0.1"))
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(path)
    trusting = ssl.create_default_context(cafile=str(path))
    async with speaking(answering(OK, OK), context=served) as address:
        async with httpx2.AsyncClient(transport=PoolTransport(context=trusting)) as client:
            assert [(await client.get(address)).text for _ in range(2)] == ["hi", "hi"]
        async with httpx2.AsyncClient(transport=PoolTransport()) as client:
            with pytest.raises(httpx2.ConnectError, match="certificate is not trusted"):
                await client.get(address)


async def test_a_server_that_speaks_no_tls_is_an_error(client: httpx2.AsyncClient) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n")
        await reader.read(1)
        writer.close()

    async with speaking(talk) as address:
        with pytest.raises(httpx2.ConnectError):
            await client.get(address.replace("http:", "https:"))


# --- addresses


def resolving(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    async def resolve(host: str, port: int) -> list[str]:
        return list(addresses)

    monkeypatch.setattr(transports, "resolve", resolve)


@pytest.mark.parametrize("addresses", [("169.254.169.254",), ("127.0.0.1", "169.254.169.254"), ("::ffff:169.254.169.254",)])
async def test_a_name_that_leads_to_a_metadata_address_is_refused(
    client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, addresses: tuple[str, ...]
) -> None:
    """FAULTS 14: by DNS, also where only some of the addresses are such."""
    resolving(monkeypatch, *addresses)
    with pytest.raises(ForbiddenAddress, match=r"innocent\.example is a link-local or metadata address"):
        await client.get("http://innocent.example/")


@pytest.mark.parametrize("address", ["127.0.0.1", "192.168.0.2"])
async def test_a_transport_for_public_addresses_goes_nowhere_else(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """A name that leads inside is seen where it is connected to."""
    resolving(monkeypatch, address)
    async with httpx2.AsyncClient(transport=transports.make_transport("http://hooks.example", public=True)) as client:
        with pytest.raises(ForbiddenAddress, match=r"hooks\.example is not a public address"):
            await client.post("http://hooks.example/hook")


async def test_the_addresses_of_a_name_are_tried_in_turn(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "127.0.0.2", "127.0.0.1")
    async with speaking(answering(OK)) as address:
        assert (await client.get(address.replace("127.0.0.1", "name.example"))).text == "hi"


async def test_an_address_that_hangs_gets_its_share_of_the_time_only(client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    resolving(monkeypatch, "127.0.0.1", "127.0.0.1")
    with mute_port() as port, pytest.raises(httpx2.ConnectTimeout):
        await client.get(f"http://name.example:{port}/", timeout=httpx2.Timeout(None, connect=0.2))
    async with speaking(answering(OK)) as address:
        assert (await client.get(address, timeout=None)).text == "hi"


@pytest.mark.parametrize(
    ("base_url", "proxied"),
    [
        ("https://api.openai.com/v1", True),
        ("http://api.openai.com/v1", True),
        ("http://localhost:11434/v1", False),
        ("http://127.0.0.1:11434/v1", False),
        ("http://[::1]:11434/v1", False),
        ("https://inside.example/v1", False),
    ],
)
def test_the_environments_proxy_is_used_but_not_for_this_machine(monkeypatch: pytest.MonkeyPatch, base_url: str, *, proxied: bool) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "no_proxy", "NO_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(make_transport(base_url), PoolTransport)
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("all_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert isinstance(make_transport(base_url), PoolTransport) != proxied
