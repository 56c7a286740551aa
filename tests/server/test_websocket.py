"""The checks that every websocket passes before its consumer runs."""

from __future__ import annotations

import socket

import pytest
import websockets.sync.client as sockets
from websockets.exceptions import InvalidStatus

from tests.live import Live


def status_of(live: Live, origin: str | None, path: str = "/ws/nowhere/", host: str = "localhost") -> int:
    """The HTTP status that a handshake with this Origin gets, from a browser that was led here by the name `host`."""
    address = f"ws://{host}:{live.port}{path}"
    with socket.create_connection(("localhost", live.port)) as raw, pytest.raises(InvalidStatus) as refused:
        sockets.connect(address, sock=raw, origin=origin)  # type: ignore[arg-type]
    return refused.value.response.status_code


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://localhost:{port}", "http://localhost:1"])
def test_it_refuses_a_foreign_origin(live: Live, origin: str | None) -> None:
    """FAULTS 10: foreign, null, absent, another port or scheme: 403."""
    assert status_of(live, origin and origin.format(port=live.port)) == 403


def test_a_name_that_is_not_ours_is_foreign_though_origin_and_host_agree(live: Live) -> None:
    """FAULTS 10: DNS rebinding."""
    assert status_of(live, f"http://evil.example:{live.port}", host="evil.example") == 403


def test_an_address_without_a_socket_is_not_found(live: Live) -> None:
    assert status_of(live, live.url) == 404
