"""Usual requests below /v1 are answered without Twisted's request objects, and all others are left to Twisted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.testing import StringTransport

from webapp.server.asgi import Receive, Scope, Send
from webapp.server.daphne.connection import Channel, Stage
from webapp.server.daphne.fast_requests import FastRequest, read_head
from webapp.server.daphne.flow_control import BODY_BUFFER_BYTES

START = b"POST /v1/chat/completions HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"
LENGTH = b"Content-Length: 2\r\n"
USUAL = START + HOST + b"Authorization: Bearer  t \r\nConnection: keep-alive\r\n" + LENGTH + b"\r\n"
OTHERS = {
    "another method": USUAL.replace(b"POST", b"GET"),
    "another path": USUAL.replace(b"/v1/", b"/v2/"),
    "a query": USUAL.replace(b"completions ", b"completions?a=b "),
    "an escaped path": USUAL.replace(b"completions ", b"complet%69ons "),
    "a full address": USUAL.replace(b"/v1/", b"http://localhost/v1/"),
    "HTTP/1.0": USUAL.replace(b"HTTP/1.1", b"HTTP/1.0"),
    "half a head": USUAL[:-3],
    "no host": START + LENGTH + b"\r\n",
    "two hosts": START + HOST + HOST + LENGTH + b"\r\n",
    "no length": START + HOST + b"\r\n",
    "two lengths": START + HOST + LENGTH + LENGTH + b"\r\n",
    "a length with a sign": USUAL.replace(b"Length: 2", b"Length: +2"),
    "a length of 5,000 digits": USUAL.replace(b"Length: 2", b"Length: " + b"9" * 5000),
    "chunks": START + HOST + b"Transfer-Encoding: chunked\r\n" + LENGTH + b"\r\n",
    "an expectation": START + HOST + b"Expect: 100-continue\r\n" + LENGTH + b"\r\n",
    "an upgrade": START + HOST + b"Upgrade: websocket\r\n" + LENGTH + b"\r\n",
    "an end after it": USUAL.replace(b"keep-alive", b"close"),
    "a name with an underscore": START + HOST + b"X_Y: 1\r\n" + LENGTH + b"\r\n",
    "a space before the colon": START + HOST + b"X : 1\r\n" + LENGTH + b"\r\n",
    "a folded header": START + HOST + b"X: 1\r\n 2\r\n" + LENGTH + b"\r\n",
    "a bare line feed": START + HOST + b"X: 1\nY: 2\r\n" + LENGTH + b"\r\n",
    "a NUL": START + HOST + b"X: 1\0\r\n" + LENGTH + b"\r\n",
    "a byte beyond ASCII": START + HOST + b"X: \xff\r\n" + LENGTH + b"\r\n",
    "many headers": START + HOST + b"X: 1\r\n" * 100 + LENGTH + b"\r\n",
}


def test_a_usual_head_is_read_with_lower_case_names_and_bare_values() -> None:
    head = read_head(USUAL + b"{}")
    assert head is not None
    assert (head.path, head.size, head.length) == (b"/v1/chat/completions", len(USUAL), 2)
    assert head.headers[1] == (b"authorization", b"Bearer  t")


@pytest.mark.parametrize("data", OTHERS.values(), ids=OTHERS)
def test_every_other_head_is_left_to_twisted(data: bytes) -> None:
    assert read_head(data) is None


class Wire(StringTransport):
    """A transport that remembers how it was closed."""

    unsent = 0
    half_closed = aborted = False

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted's

    @property
    def written(self) -> bytes:
        return bytes(self.io.getvalue())

    def loseWriteConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.half_closed = True

    def abortConnection(self) -> None:  # noqa: N802 - Twisted's name
        self.aborted = True


class Server:
    """Run an application as `PatchbayServer` does."""

    proxy_forwarded_address_header = None
    root_path = ""

    def __init__(self, application: Any) -> None:
        self.application = application

    def run_fast(self, request: FastRequest, scope: Scope) -> None:
        request.run(self.application, scope)


def connected(application: Any) -> tuple[Channel, Wire]:
    made, wire = Channel(), Wire()
    made.factory = SimpleNamespace(channels={}, large=set(), server=Server(application), forget=lambda _: None)  # type: ignore[assignment]  # what a channel needs of it
    made.timeOut = None
    made.makeConnection(wire)  # type: ignore[no-untyped-call]  # Twisted's
    return made, wire


async def answer(scope: Scope, receive: Receive, send: Send, *, length: bool = True) -> None:
    """Answer with the path and the body of the request."""
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    said = b"%b %b" % (scope["raw_path"], body)
    headers = [(b"content-length", b"%d" % len(said))] if length else []
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": said[:4], "more_body": True})
    await send({"type": "http.response.body", "body": said[4:]})


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_a_body_in_pieces_is_answered_and_the_connection_is_used_again() -> None:
    made, wire = connected(answer)
    for piece in (USUAL, b"{", b"}"):
        made.dataReceived(piece)
        await settle()
    assert wire.written == b"HTTP/1.1 200 OK\r\ncontent-length: 23\r\n\r\n/v1/chat/completions {}"
    assert made.stage is Stage.IDLE
    made.dataReceived(USUAL + b"[]")
    await settle()
    assert wire.written.endswith(b"/v1/chat/completions []")
    assert not wire.disconnecting


async def test_requests_in_a_row_are_answered_in_their_order() -> None:
    made, wire = connected(answer)
    made.dataReceived((USUAL + b"{}") * 2 + USUAL + b"[]")
    await settle()
    assert wire.written.count(b"HTTP/1.1 200 OK") == 3
    assert wire.written.endswith(b"[]")


async def test_an_answer_without_a_length_goes_out_in_chunks() -> None:
    made, wire = connected(partial(answer, length=False))
    made.dataReceived(USUAL + b"{}")
    await settle()
    assert wire.written.endswith(b"transfer-encoding: chunked\r\n\r\n4\r\n/v1/\r\n13\r\nchat/completions {}\r\n0\r\n\r\n")


async def test_an_answer_before_the_end_of_the_body_closes_the_connection() -> None:
    async def refuse(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})

    made, wire = connected(refuse)
    made.dataReceived(USUAL.replace(b": 2", b": 200") + b"{")
    await settle()
    assert wire.written.endswith(b"connection: close\r\n\r\n")
    assert wire.half_closed
    made.dataReceived(USUAL + b"{}")  # it is discarded
    assert made.stage is Stage.GOODBYE


async def test_the_client_waits_while_the_application_does_not_read_the_body() -> None:
    async def wait(_scope: Scope, _receive: Receive, _send: Send) -> None:
        await asyncio.Event().wait()

    made, wire = connected(wait)
    made.dataReceived(USUAL.replace(b": 2", b": 9999999"))
    made.dataReceived(bytes(BODY_BUFFER_BYTES + 1))
    assert wire.producerState == "paused"
    assert made.stage is Stage.BODY


async def test_a_client_that_leaves_is_reported_to_the_application() -> None:
    seen: list[Mapping[str, Any]] = []

    async def listen(_scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend([await receive(), await receive()])
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    made, wire = connected(listen)
    made.dataReceived(USUAL + b"{}")
    await settle()
    made.connectionLost()
    await settle()
    assert [message["type"] for message in seen] == ["http.request", "http.disconnect"]
    assert wire.written == b""


@pytest.mark.parametrize("begun", [False, True])
async def test_an_application_that_fails_leaves_no_answer_that_looks_whole(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def fail(_scope: Scope, _receive: Receive, send: Send) -> None:
        if begun:
            await send({"type": "http.response.start", "status": 200})
            await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise RuntimeError("broken")

    made, wire = connected(fail)
    made.dataReceived(USUAL + b"{}")
    await settle()
    assert wire.written.startswith(b"HTTP/1.1 200 OK" if begun else b"HTTP/1.1 500 ")
    assert not wire.written.endswith(b"0\r\n\r\n")
    assert wire.disconnecting
    assert "broken" in caplog.text


async def test_a_header_with_a_line_break_is_not_sent() -> None:
    async def smuggle(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x", b"1\r\ny: 2")]})

    made, wire = connected(smuggle)
    made.dataReceived(USUAL + b"{}")
    await settle()
    assert wire.written.startswith(b"HTTP/1.1 500 ")


async def test_a_writer_waits_for_a_full_client() -> None:
    made, wire = connected(answer)
    made.dataReceived(USUAL + b"{")
    made.pauseProducing()
    made.dataReceived(b"}")
    await settle()
    assert wire.written == b""
    made.resumeProducing()
    await settle()
    assert wire.written.endswith(b"{}")
