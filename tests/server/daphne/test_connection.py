"""Requests are read strictly, and what is wrong with one is said: one answer, then the end of the connection."""

from __future__ import annotations

import json
import socket
from types import SimpleNamespace

import pytest
from twisted.internet.testing import StringTransport

from tests.live import Live
from webapp.server.daphne import connection
from webapp.server.daphne.connection import Channel
from webapp.server.daphne.flow_control import Body

HOST = b"Host: localhost\r\n"
GET = b"GET /v1/models HTTP/1.1\r\n" + HOST
POST = b"POST /v1/chat/completions HTTP/1.1\r\n" + HOST
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
NEXT = GET + b"\r\n"
"""A request that would be smuggled in if the server and a proxy disagreed about where a body ends."""

MALFORMED = {
    "two lengths": (400, POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}  "),
    "a length and chunks": (400, POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "chunks and a length": (400, POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
    "chunked twice": (400, POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a length below zero": (400, POST + b"Content-Length: -3\r\n\r\n{}"),
    "a length with a sign": (400, POST + b"Content-Length: +2\r\n\r\n{}"),
    "a length of 5,000 digits": (400, POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"),
    "another coding": (400, POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "no coding by name": (400, POST + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}"),
    "chunks of HTTP/1.0": (400, POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "a chunk size that is none": (400, CHUNKED + b"zz\r\nabc\r\n0\r\n\r\n"),
    "a chunk size with a sign": (400, CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size in another notation": (400, CHUNKED + b"0x2\r\n{}\r\n0\r\n\r\n"),
    "a chunk size without end": (400, CHUNKED + b"0" * 2000),
    "a chunk that is too long": (400, CHUNKED + b"2\r\n{}{}\r\n0\r\n\r\n"),
    "a NUL": (400, GET + b"X: a\0b\r\n\r\n"),
    "a bare line feed": (400, GET + b"X: a\nTransfer-Encoding: chunked\r\n\r\n"),
    "a space before the colon": (400, POST + b"Transfer-Encoding : chunked\r\n\r\n"),
    "no colon": (400, GET + b"what\r\n\r\n"),
    "a folded header": (400, GET + b"X: a\r\n b\r\n\r\n"),
    "a folded first header": (400, b"GET /v1/models HTTP/1.1\r\n X: a\r\n" + HOST + b"\r\n"),
    "600 headers": (431, GET + b"X: a\r\n" * 600 + b"\r\n"),
    "a header of 3 MB": (431, GET + b"X: " + b"a" * 3_000_000 + b"\r\n\r\n"),
    "an unknown expectation": (417, POST + b"Expect: the best\r\nContent-Length: 2\r\n\r\n{}"),
}


@pytest.mark.parametrize(("status", "request_"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_request_gets_one_answer_in_openais_shape(live: Live, status: int, request_: bytes) -> None:
    """FAULTS 23; and what stands behind it is not taken for a request of its own."""
    answer = exchange(live, request_ + NEXT)
    start, body = answer.split(b"\r\n\r\n", 1)
    assert start.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close" in start
    assert b"\r\nX-Request-Id: " in start
    error = json.loads(body)["error"]
    assert error["type"] == "invalid_request_error"
    assert error["message"].endswith(".")


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, b"GET\r\n\r\n"),
        (400, b"GET / HTTP/9.9\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\r\n\r\n"),
        (400, b" GET / HTTP/1.1\r\n\r\n"),
        (414, b"GET /" + b"a" * 3_000_000 + b" HTTP/1.1\r\n\r\n"),
        (400, b"GET /chat/ HTTP/1.1\r\n\r\n"),
        (417, b"POST /csp-report/ HTTP/1.1\r\nHost: localhost\r\nExpect: much\r\nContent-Length: 2\r\n\r\n{}"),
    ],
)
def test_outside_of_v1_it_is_a_line_of_text(live: Live, status: int, request_: bytes) -> None:
    start, body = exchange(live, request_).split(b"\r\n\r\n", 1)
    assert start.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nContent-Type: text/plain; charset=utf-8\r\n" in start
    assert body.endswith(b".\n")
    assert body.count(b"\n") == 1


def test_folded_headers_cost_no_time(live: Live) -> None:
    """Joining them would take the square of their number: 15 s for these, in which nobody is served."""
    assert exchange(live, GET + b"X: a" + b"\r\n b" * 500_000 + b"\r\n\r\n", seconds=5).startswith(b"HTTP/1.1 400 ")


EXPECTING = b"Expect: 100-continue\r\n"


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (401, POST + EXPECTING + b"Content-Length: 2\r\n\r\n"),
        (401, POST + EXPECTING + b"Transfer-Encoding: chunked\r\n\r\n"),
        (401, POST + EXPECTING + b"Authorization: Bearer wrong\r\nContent-Length: 2\r\n\r\n"),
        (413, POST + EXPECTING + b"Content-Length: 999999999\r\n\r\n"),
        (413, b"POST /accounts/login/ HTTP/1.1\r\n" + HOST + EXPECTING + b"Content-Length: 999999999\r\n\r\n"),
    ],
)
def test_a_body_that_will_be_refused_is_not_asked_for(live: Live, status: int, request_: bytes) -> None:
    """FAULTS 20: no `100 Continue` before the token and the size are known to be good."""
    start, body = first_answer(live, request_)
    assert start.startswith(b"HTTP/1.1 %d " % status)
    assert start.lower().count(b"\r\nconnection: close") == 1
    assert json.loads(body)["error"]["message"]


def test_a_body_that_is_wanted_is_asked_for(live: Live) -> None:
    head = b"POST /csp-report/ HTTP/1.1\r\n" + HOST + EXPECTING + b"Content-Length: 2\r\n\r\n"
    with socket.create_connection(("localhost", live.port), timeout=5) as client:
        for _ in range(2):
            client.sendall(head)
            assert client.recv(4096) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"{}")
            assert client.recv(4096).startswith(b"HTTP/1.1 204 ")
        client.sendall(head + b"{}")  # it did not want to wait
        assert client.recv(4096).startswith(b"HTTP/1.1 204 ")


def exchange(live: Live, request: bytes, seconds: float = 5) -> bytes:
    """All that the server says to these bytes until it closes the connection."""
    with socket.create_connection(("localhost", live.port), timeout=seconds) as client:
        client.sendall(request)
        return b"".join(iter(lambda: client.recv(65536), b""))


def first_answer(live: Live, request: bytes) -> tuple[bytes, bytes]:
    """The head and the body of the first response to these bytes."""
    with socket.create_connection(("localhost", live.port), timeout=5) as client:
        client.sendall(request)
        start, body = client.recv(65536).split(b"\r\n\r\n", 1)
        return start, body


# --- the sweep, without a server: what slow clients meet is in tests/faults/test_slow.py


class Wire(StringTransport):
    """A transport of which nobody reads."""

    unsent = 0

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's

    @property
    def written(self) -> bytes:
        return bytes(self.io.getvalue())

    def loseWriteConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.half_closed = True


def connected() -> tuple[Channel, Wire]:
    made, wire = Channel(), Wire()
    made.factory = SimpleNamespace(channels={}, large=set())  # type: ignore[assignment]  # what a channel needs of it
    made.timeOut = None
    made.makeConnection(wire)  # type: ignore[no-untyped-call]  # Twisted's
    return made, wire


def look(made: Channel, times: int) -> None:
    for _ in range(times + 1):  # the first begins to count
        made.check()


def test_the_rest_of_an_answer_that_nobody_reads_is_given_up() -> None:
    made, wire = connected()
    wire.unsent = 100_000
    look(made, connection.UNREAD_SWEEPS - 1)
    assert not wire.disconnected
    made.check()
    assert wire.disconnected


def test_an_answer_may_be_read_slowly_after_its_request_is_done() -> None:
    """Twisted cut it 75 s after the request, read or not."""
    made, wire = connected()
    for left in range(100, 0, -1):
        wire.unsent = left
        look(made, connection.UNREAD_SWEEPS - 2)
    assert not wire.disconnected
    wire.unsent = 0
    look(made, connection.IDLE_SWEEPS)
    assert wire.disconnecting


def receiving(body: Body) -> tuple[Channel, Wire]:
    """A channel in the middle of a body."""
    made, wire = connected()
    made.requests = [SimpleNamespace(body=body, startedWriting=0, abandon=body.disconnect)]
    made.setRawMode()  # type: ignore[no-untyped-call]  # Twisted's
    return made, wire


def test_a_client_that_must_wait_for_the_application_is_not_slow() -> None:
    body = Body(lambda: None, lambda: None)
    made, wire = receiving(body)
    for waits in ("paused", "invite"):
        setattr(body, waits, True)
        look(made, 3 * connection.BODY_SWEEPS)
        setattr(body, waits, None)
    assert wire.written == b""
    look(made, connection.BODY_SWEEPS)
    assert wire.written.startswith(b"HTTP/1.1 408 ")


async def test_a_body_must_bring_its_bytes_each_minute() -> None:
    body = Body(lambda: None, lambda: None)
    made, wire = receiving(body)
    made.check()
    for size in (connection.BODY_BYTES, 2 * connection.BODY_BYTES, connection.BODY_BYTES - 1):
        assert wire.written == b""
        body.add(bytes(size))
        await body.receive()
        for _ in range(connection.BODY_SWEEPS):
            made.check()
    assert wire.written.startswith(b"HTTP/1.1 408 ")
    assert await body.receive() == {"type": "http.disconnect"}


def test_an_answer_that_has_begun_is_cut_off_and_never_followed_by_another() -> None:
    made, wire = receiving(Body(lambda: None, lambda: None))
    made.requests[-1].startedWriting = 1
    look(made, connection.BODY_SWEEPS)
    assert wire.disconnected
    assert wire.written == b""


def test_connections_that_became_websockets_are_forgotten_also_once_they_are_closed() -> None:
    """A closed transport has no protocol any more; nothing is thrown, which would end the sweep for all that come after it."""
    factory = connection.Factory(None, request=object, most=10)
    for transport in (SimpleNamespace(), SimpleNamespace(protocol=object())):
        one = Channel()
        one.transport = transport
        factory.channels[one] = None
    factory.sweep()
    assert factory.channels == {}


def test_an_address_may_have_only_so_many_connections() -> None:
    factory = connection.Factory(SimpleNamespace(), request=object, most=100, most_per_address=2)
    there, here = SimpleNamespace(host="192.0.2.7"), SimpleNamespace(host="127.0.0.1")
    assert [factory.buildProtocol(there) is None for _ in range(4)] == [False, False, True, True]
    assert factory.buildProtocol(SimpleNamespace(host="192.0.2.8"))
    factory.left("192.0.2.7")
    assert factory.buildProtocol(there)
    assert all(factory.buildProtocol(here) for _ in range(4)), "a proxy on this machine"


@pytest.mark.parametrize("origin", [b"http://[", b"http://a:b:c", b"http://x:99999999", b"://", b""])
def test_a_malformed_origin_is_refused_without_a_traceback(live: Live, origin: bytes) -> None:
    """FAULTS 62."""
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    start = b"GET /ws/chat/4736fc9b-4932-46e6-9181-2e9ff5be1f00/ HTTP/1.1\r\n"
    assert exchange(live, start + HOST + upgrade + b"Origin: " + origin + b"\r\n\r\n").startswith(b"HTTP/1.1 400 ")
    assert "has no attribute" not in live.output()
