"""Hostile frames at the websocket of a real server: told so or closed, and the process goes on (FAULTS 23)."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Iterator

import httpx2
import pytest
import websockets
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.faults.sockets import Socket, attached, handshake
from tests.live import Live

ACTIONS = ("send", "stop", "edit", "regenerate", "continue", "approve", "connect", "_pump", "__init__", "")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)
FIELDS = ("text", "model", "message", "attachment", "compare", "call", "yes")
BODIES = st.fixed_dictionaries({"action": st.sampled_from(ACTIONS) | JSON}, optional=dict.fromkeys(FIELDS, JSON | st.uuids().map(str)))
FRAMES = JSON | st.fixed_dictionaries({}, optional={"body": BODIES | JSON, "headers": JSON, "id": JSON})
"""Anything; most are nearly what the server understands."""
NOT_UNDERSTOOD = "could not read that message"


@pytest.fixture(scope="module")
def headers(live: Live) -> dict[str, str]:
    return handshake(live, "owner")


@pytest.fixture(autouse=True)
def no_traceback(live: Live) -> Iterator[None]:
    before = live.output().count("Traceback")
    yield
    assert httpx2.get(f"{live.url}/readyz").status_code == 200
    assert live.output().count("Traceback") == before, live.output()[-3000:]


def is_alive(socket: Socket) -> None:
    """It says that it does not understand what nobody could: it heard all that was sent before."""
    socket.frames.clear()
    socket.connection.send("?")
    socket.until(NOT_UNDERSTOOD)


@given(frames=st.lists(FRAMES, min_size=5, max_size=10))
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_json_is_answered_or_refused(live: Live, headers: dict[str, str], frames: list[object]) -> None:
    with attached(live, headers, uuid.uuid4()) as socket:
        for frame in frames:
            socket.connection.send(json.dumps(frame))
        is_alive(socket)
        socket.say("stop")


TEXTS = {
    "no json": "{",
    "deep": "[" * 500_000,
    "deep objects": '{"a":' * 100_000,
    "many digits": '{"body": {"action": "send", "text": ' + "9" * 5000 + "}}",
    "not a number": '{"body": {"action": "edit", "message": NaN, "text": Infinity}}',
    "twice": '{"body": {"action": "stop"}, "body": []}',
    "half a pair": '{"body": {"action": "edit", "message": "\\ud800", "text": "\\udfff\\u0000"}}',
    "large": json.dumps({"body": {"action": "nothing", "text": "日" * 1_000_000}}, ensure_ascii=False),
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_that_is_no_frame_is_told_so(live: Live, headers: dict[str, str], text: str) -> None:
    with attached(live, headers, uuid.uuid4()) as socket:
        socket.connection.send(text)
        is_alive(socket)


def test_bytes_are_no_frame(live: Live, headers: dict[str, str]) -> None:
    with attached(live, headers, uuid.uuid4()) as socket:
        socket.connection.send(b"\x00\xff" * 1000)
        is_alive(socket)


@pytest.mark.parametrize(("opcode", "payload", "code"), [(0x1, b"\xff\xfe", 1007), (0x3, b"x", 1002), (0x9, b"x" * 200, 1002)])
def test_a_broken_frame_closes_the_socket(live: Live, headers: dict[str, str], opcode: int, payload: bytes, code: int) -> None:
    """No UTF-8, an unknown kind, a ping that is too long: by RFC 6455."""
    with attached(live, headers, uuid.uuid4()) as socket:
        length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0xFE]) + len(payload).to_bytes(2, "big")
        socket.connection.socket.sendall(bytes([0x80 | opcode]) + length + b"\0\0\0\0" + payload)
        assert socket.until_closed(5) == code


def test_a_frame_of_fifty_megabytes_is_refused_before_it_is_whole(live: Live, headers: dict[str, str]) -> None:
    before = live.memory_mb()
    with attached(live, headers, uuid.uuid4()) as socket:
        with contextlib.suppress(websockets.ConnectionClosed):
            socket.connection.send("x" * 50_000_000)
        assert socket.until_closed(10) == 1009
    assert live.memory_mb() - before < 30
