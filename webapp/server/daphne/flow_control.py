"""Keep the memory of a connection small: the writer waits for its reader, and the application pulls the body."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

BODY_BUFFER_BYTES = 256 * 1024
"""Body bytes that are buffered for an application that is slower than its client."""
UNREAD_SECONDS = 30
"""Seconds that a client may leave a full buffer unread before it is disconnected."""


class Writable:
    """Expose Twisted's push-producer interface as an event, which is clear while the client's buffer is full."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.event.set()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Hold back writes: the client reads slowly."""
        self.event.clear()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Allow writes again."""
        self.event.set()

    stopProducing = resumeProducing  # noqa: N815 - Twisted's name

    async def wait(self) -> bool:
        """Wait until the client reads; return False if it does not within UNREAD_SECONDS."""
        if self.event.is_set():
            return True
        try:
            await asyncio.wait_for(self.event.wait(), UNREAD_SECONDS)
        except TimeoutError:
            return False
        return True


class Body:
    """Buffer a request's body between the socket and the application: bounded, pulled, never complete in memory.

    Attributes:
        received: bytes that have arrived so far.
        complete: all bytes have arrived.
        paused: the client must wait for the application.
        invite: tells a client with `Expect: 100-continue` to send. Called once, when the application asks for the body.
    """

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.received = 0
        self.complete = False
        self.paused = False
        self.invite: Callable[[], None] | None = None
        self._pause, self._resume = pause, resume
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._gone = False
        self._discarding = False
        self._delivered = False
        self._news = asyncio.Event()

    def add(self, data: bytes) -> None:
        """Keep received bytes, and pause the connection when there are many."""
        if self._discarding:
            return
        self.received += len(data)
        self.invite = None
        self._chunks.append(data)
        self._size += len(data)
        if self._size > BODY_BUFFER_BYTES:
            self.paused = True
            self._pause()
        self._news.set()

    def end(self) -> None:
        """Mark the body as complete."""
        self.complete = True
        self._news.set()

    def disconnect(self) -> None:
        """Mark the client as gone."""
        self._gone = True
        self._news.set()

    def discard(self) -> None:
        """Discard the present and future bytes, because the answer is already sent."""
        self._discarding = True
        self._chunks.clear()
        self._go_on()

    async def receive(self) -> dict[str, Any]:
        """Return the next ASGI message: the body, then the disconnect."""
        while not self._gone:
            if self._chunks or (self.complete and not self._delivered):
                return self._next()
            if self.invite:
                self.invite()
                self.invite = None
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    def _next(self) -> dict[str, Any]:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._delivered = self.complete
        self._go_on()
        return {"type": "http.request", "body": data, "more_body": not self.complete}

    def _go_on(self) -> None:
        self.paused = False
        self._resume()
