"""Clients that keep a server waiting (slowloris): each is let go after a bounded time, and nobody else notices.

The server's time runs forty times as fast: half a minute is three quarters of a second.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx2
import pytest

from tests.faults.sockets import Socket, attached, handshake, serve, streamed
from tests.live import Live, copied
from tests.upstream import Upstream, chunk, stream

HURRY = """
from webapp.server.daphne import connection; from webapp.server import body_limits
connection.SWEEP_SECONDS /= 40
body_limits.MAX_OPEN_FILES = 120
"""
MOST = 60
"""Connections at once, with so few files."""
HEAD = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n"
FORM = b"POST /accounts/login/ HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def impatient_server(populated_home: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    server = Live(copied(populated_home, tmp_path_factory), first=HURRY).start()  # type: ignore[arg-type]  # a path
    yield server
    server.stop()


@dataclass
class End:
    """The end of a connection: the server's reply, and the seconds until it closed."""

    said: bytes
    seconds: float


CASES = {
    "says nothing": (b"", b""),
    "was answered and says no more": (b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b""),
    "never ends its headers": (HEAD, b""),
    "sends its first line a byte at a time": (b"GET /v1/", b"a"),
    "sends its headers a byte at a time": (HEAD + b"X: ", b"a"),
    "sends headers without end": (HEAD, b"X: a\r\n"),
    "sends a websocket's handshake a byte at a time": (HEAD + b"Upgrade: websocket\r\nConnection: Upgrade\r\nX: ", b"a"),
    "announces a body and sends none": (FORM + b"Content-Length: 1000\r\n\r\n", b""),
    "sends its body a byte at a time": (FORM + b"Content-Length: 1000\r\n\r\n", b"a"),
    "sends its chunks a byte at a time": (FORM + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n"),
    "sends a body with a websocket's handshake": (FORM + b"Upgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 99\r\n\r\n", b"a"),
    "asks first and then sends nothing": (FORM + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n", b""),
}
SILENT = ("says nothing", "was answered and says no more")


def drip(port: int, head: bytes, drop: bytes) -> End:
    """Send `head`, then `drop` ten times a second, until the server closes; at most for 20 s."""
    began, said = time.monotonic(), b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(head)
        client.settimeout(0.1)
        while time.monotonic() - began < 20:
            try:
                data = client.recv(65536)
            except TimeoutError:
                client.sendall(drop)
                continue
            if not data:
                return End(said, time.monotonic() - began)
            said += data
    raise AssertionError(f"still connected after 20 s; it said {said!r}")


@pytest.fixture(scope="module")
def ends(impatient_server: Live) -> dict[str, End]:
    """All cases at once."""
    with ThreadPoolExecutor(len(CASES)) as pool:
        return dict(zip(CASES, pool.map(lambda case: drip(impatient_server.port, *case), CASES.values()), strict=True))


@pytest.mark.parametrize("case", CASES)
def test_a_slow_client_is_let_go(ends: dict[str, End], case: str) -> None:
    """It is told why, where it began to say something."""
    end = ends[case]
    assert end.seconds < 15
    if case in SILENT:
        assert b" 408 " not in end.said
    else:
        assert end.said.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    if CASES[case][0].startswith(HEAD):
        assert json.loads(end.said.partition(b"\r\n\r\n")[2])["error"]["code"] == "request_timeout"


def test_websockets_that_come_and_go_stop_no_sweep(impatient_server: Live) -> None:
    """Between two looks at it a connection may have become a websocket, and be gone."""
    headers = handshake(impatient_server, "owner")
    for _ in range(20):
        with attached(impatient_server, headers, uuid.uuid4()):
            pass
    assert drip(impatient_server.port, *CASES["says nothing"]).seconds < 15
    assert "AttributeError" not in impatient_server.output()


@contextlib.contextmanager
def crowd(port: int, how_many: int, head: bytes) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(how_many)]
        for client in clients:
            with contextlib.suppress(ConnectionError):  # it had to make way
                client.sendall(head)
        yield clients


def is_closed(client: socket.socket) -> bool:
    client.settimeout(0)
    try:
        while client.recv(4096):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


@pytest.mark.parametrize("head", [b"", pytest.param(HEAD, marks=pytest.mark.slow)], ids=["silent", "in their headers"])
def test_any_number_of_slow_clients_keeps_nobody_out(impatient_server: Live, head: bytes) -> None:
    """The oldest that wait make way for the newest; memory grows by less than 20 MB."""
    before = impatient_server.memory_mb()
    with crowd(impatient_server.port, 3 * MOST, head) as clients:
        began = time.monotonic()
        assert httpx2.get(f"{impatient_server.url}/healthz", timeout=5).status_code == 200
        assert time.monotonic() - began < 4
        assert impatient_server.memory_mb() - before < 20
        assert sum(map(is_closed, clients)) >= len(clients) - MOST


def test_large_heads_of_many_clients_fill_no_memory(impatient_server: Live) -> None:
    """A head of a megabyte is read (FAULTS 16), for as many clients at once as memory is meant for."""
    before = impatient_server.memory_mb()
    with crowd(impatient_server.port, 55, HEAD + b"X: ") as clients, ThreadPoolExecutor(55) as pool:
        answers = list(pool.map(large_head, clients))
        assert impatient_server.memory_mb() - before < 120
    assert sum(answer.startswith(b"HTTP/1.1 431 ") for answer in answers) > 15


def large_head(client: socket.socket) -> bytes:
    client.settimeout(10)
    with contextlib.suppress(ConnectionError):
        client.sendall(b"a" * 1_000_000)
        return client.recv(100)
    return b""


@pytest.mark.slow
def test_an_upload_that_is_slow_but_goes_on_is_taken(impatient_server: Live) -> None:
    """Several times the time in which a body must bring something."""

    def pieces() -> Iterator[bytes]:
        for _ in range(40):
            time.sleep(0.1)
            yield bytes(4096)

    assert (
        httpx2.post(f"{impatient_server.url}/accounts/login/", content=pieces(), timeout=30).status_code == 403
    )  # read whole: it is no form


@pytest.mark.slow
def test_who_waits_for_the_server_is_not_hurried(impatient_server: Live, upstream: Upstream) -> None:
    """A stream with long pauses, an answer that takes its time, and a websocket where nothing happens: ten times every limit."""
    pause = 6.0
    upstream.default = stream(chunk({"role": "assistant", "content": "a"}), pause, chunk({"content": "b"}, finish="stop"))
    serve(impatient_server, upstream, "patient")
    token = impatient_server.manage("create_token", "--user", "owner").stdout.strip()
    words: list[str] = []
    reading = threading.Thread(target=streamed, args=(impatient_server, token, "patient", words))
    with attached(impatient_server, handshake(impatient_server, "owner"), uuid.uuid4()) as quiet:
        reading.start()
        reading.join(30)
        assert "".join(words) == "ab[DONE]"
        hears(quiet)


def hears(quiet: Socket) -> None:
    quiet.connection.send("?")
    quiet.until("could not read that message")


def test_a_server_that_was_stopped_for_a_while_blames_nobody(impatient_server: Live) -> None:
    """Its own absence is not its clients' slowness: a laptop that slept, a machine that was too busy."""
    assert impatient_server.process
    with socket.create_connection(("localhost", impatient_server.port), timeout=5) as client:
        client.sendall(HEAD)
        time.sleep(0.1)
        os.kill(impatient_server.process.pid, signal.SIGSTOP)
        time.sleep(1.2)
        client.sendall(b"Connection: close\r\n\r\n")
        os.kill(impatient_server.process.pid, signal.SIGCONT)
        assert client.recv(100).startswith(b"HTTP/1.1 401 ")


SMUGGLED = {
    "a length and chunks": b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}  ",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n",
    "a chunk size that is none": b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@pytest.mark.slow
def test_uvicorn_smuggles_nothing_and_asks_for_no_body_that_it_refuses(new_live: Callable[..., Live]) -> None:
    """Its slow clients are the proxy's business (docs/operating.md)."""
    live, post = new_live(server="uvicorn"), b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
    for name, rest in SMUGGLED.items():
        said = drip(live.port, post + rest + HEAD + b"\r\n", b"").said
        assert said.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 401 ")), name
        assert said.count(b"HTTP/1.1 ") == 1, name
    for status, length in ((401, b"2"), (413, b"999999999")):
        with socket.create_connection(("localhost", live.port), timeout=5) as client:
            client.sendall(post + b"Expect: 100-continue\r\nContent-Length: " + length + b"\r\n\r\n")
            assert client.recv(4096).startswith(b"HTTP/1.1 %d " % status)
