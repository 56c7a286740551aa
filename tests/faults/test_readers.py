"""FAULTS 29: a client that never reads."""

from __future__ import annotations

import contextlib
import re
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest

from tests.faults.sockets import Socket, attached, handshake, serve
from tests.live import Live
from tests.upstream import Upstream, says

LINES = 6000
TEXT = "```\n" + "".join(f"line {number} of a long and quite ordinary listing\n" for number in range(LINES)) + "```"
LAST = f"line {LINES - 1} "
WARM_UP, REFRESHES = 90, 120  # until the process holds what rendering needs: it grows no more after some 60


@contextmanager
def never_reading(live: Live, headers: dict[str, str], chat: uuid.UUID) -> Iterator[socket.socket]:
    """A raw socket that opens the websocket and reads nothing after the handshake; its window is as small as the system lets it be."""
    with socket.socket() as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.connect(("localhost", live.port))
        lines = [
            f"GET /ws/chat/{chat}/ HTTP/1.1",
            f"Host: localhost:{live.port}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            f"Origin: {live.url}",
            f"Cookie: {headers['Cookie']}",
        ]
        raw.sendall("\r\n".join([*lines, "", ""]).encode())
        assert b" 101 " in raw.recv(64)
        yield raw


def refresh(client: httpx2.Client, address: str, reading: Socket, times: int) -> int:
    """Switch branches, so that everybody is sent the whole conversation; the characters that a client who reads was sent."""
    sent = 0
    for _ in range(times):
        assert client.post(address.replace("markdown", "branch")).status_code in {200, 204, 302}
        reading.frames.clear()
        reading.until(LAST)
        sent += len(reading.frames[-1]["content"])
    return sent


@pytest.mark.parametrize("server", ["daphne", pytest.param("uvicorn", marks=pytest.mark.slow)])
def test_a_client_that_never_reads_costs_no_memory_and_no_text(new_live: object, live: Live, upstream: Upstream, server: str) -> None:
    """FAULTS 29: memory grows by less than 20 MB, and the text in the database is whole.

    The client is sent the whole conversation again and again (somebody switches branches): some 40 MB, more than any kernel buffers.
    """
    if server != "daphne":
        live = new_live(server=server)  # type: ignore[operator]  # the fixture is a function
    upstream.default = says(TEXT)
    serve(live, upstream, "readers")
    headers, chat = handshake(live, "owner"), uuid.uuid4()
    with contextlib.closing(live.sign_in("owner")) as client:
        with attached(live, headers, chat) as asking:
            asking.say("send", text="A listing", model="readers")
            asking.until('data-status="done"', seconds=40)
        page = client.get(f"/chat/{chat}/").text
        address = re.findall(r"/chat/messages/[\w-]+/markdown/", page)[-1]
        with attached(live, headers, chat) as reading:
            reading.until(LAST)
            refresh(client, address, reading, WARM_UP)
            with never_reading(live, headers, chat):
                before = live.memory_mb()
                sent = refresh(client, address, reading, REFRESHES)
                grown = live.memory_mb() - before
        assert sent > 30_000_000
        assert grown < 20
        assert client.get(address).text == TEXT
