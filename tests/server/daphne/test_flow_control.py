"""Bodies and writers: bounded, whatever the other side does."""

from __future__ import annotations

import asyncio

import pytest

from webapp.server.daphne import flow_control
from webapp.server.daphne.flow_control import Body, Writable


class Socket:
    """Counts what a body asks of its socket."""

    def __init__(self) -> None:
        self.paused = 0
        self.resumed = 0
        self.body = Body(self._pause, self._resume)

    def _pause(self) -> None:
        self.paused += 1

    def _resume(self) -> None:
        self.resumed += 1


async def test_the_client_waits_while_the_application_does_not_read() -> None:
    socket = Socket()
    socket.body.add(bytes(flow_control.BODY_BUFFER_BYTES))
    assert not socket.body.paused
    socket.body.add(b"x")
    assert (socket.paused, socket.body.paused) == (1, True)
    message = await socket.body.receive()
    assert len(message["body"]) == flow_control.BODY_BUFFER_BYTES + 1
    assert (socket.resumed, socket.body.paused) == (1, False)


async def test_a_client_that_asks_first_is_invited_once_and_only_when_the_body_is_wanted() -> None:
    socket, invited = Socket(), []
    socket.body.invite = lambda: invited.append(True)
    assert not invited
    receiving = asyncio.ensure_future(socket.body.receive())
    await asyncio.sleep(0)
    assert invited == [True]
    socket.body.add(b"{}")
    assert await receiving == {"type": "http.request", "body": b"{}", "more_body": True}
    socket.body.end()
    assert await socket.body.receive() == {"type": "http.request", "body": b"", "more_body": False}
    assert invited == [True]


async def test_a_client_that_sends_unasked_needs_no_invitation() -> None:
    socket, invited = Socket(), []
    socket.body.invite = lambda: invited.append(True)
    socket.body.add(b"{}")
    socket.body.end()
    await socket.body.receive()
    assert not invited


async def test_what_comes_after_the_answer_is_dropped() -> None:
    socket = Socket()
    socket.body.add(b"x")
    socket.body.discard()
    socket.body.add(b"y")
    assert socket.body.received == 1
    socket.body.disconnect()
    assert await socket.body.receive() == {"type": "http.disconnect"}


async def test_a_writer_waits_for_its_reader_and_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    writable = Writable()
    assert await writable.wait()
    writable.pauseProducing()
    waiting = asyncio.ensure_future(writable.wait())
    await asyncio.sleep(0)
    writable.resumeProducing()
    assert await waiting
    monkeypatch.setattr(flow_control, "UNREAD_SECONDS", 0.01)
    writable.pauseProducing()
    assert not await writable.wait()
