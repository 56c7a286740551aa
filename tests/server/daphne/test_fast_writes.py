"""Frames and writes as the server makes them, read by others' code."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from django.contrib.staticfiles.finders import find
from django.templatetags.static import static
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from tests.live import Live
from webapp.server.daphne.fast_writes import text_frame


def parsed(raw: bytes) -> Frame:
    """The frame as the websockets package reads it from a server."""
    reader = StreamReader()
    reader.feed_data(raw)
    steps = Frame.parse(reader.read_exact, mask=False)
    try:
        next(steps)
    except StopIteration as done:
        frame: Frame = done.value
        return frame
    raise AssertionError("the frame is not whole")


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_of_any_length_is_read_as_it_was_written(size: int) -> None:
    frame = parsed(text_frame(b"x" * size))
    assert (frame.opcode, frame.fin, bytes(frame.data)) == (Opcode.TEXT, True, b"x" * size)


@given(st.text())
def test_text_comes_back_as_it_went(text: str) -> None:
    assert bytes(parsed(text_frame(text.encode())).data).decode() == text


def test_what_a_socket_does_not_take_at_once_arrives_whole_and_in_order(live: Live) -> None:
    """A client with a small buffer that reads late: the rest is sent when there is room, and the connection closes after it."""
    path = find("admin/js/vendor/jquery/jquery.js")
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("localhost", live.port))
        client.sendall(
            f"GET {static('admin/js/vendor/jquery/jquery.js')} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode()
        )
        time.sleep(0.3)
        raw = b"".join(iter(lambda: client.recv(65536), b""))
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    assert body == Path(str(path)).read_bytes()
