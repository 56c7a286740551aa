"""Read requests strictly, answer malformed ones with the reason, and disconnect slow or silent clients.

Twisted answers every malformed request with a bare 400, waits forever for one that arrives a byte at a time, and joins the continuation
lines of a header at quadratic cost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from daphne.http_protocol import HTTPFactory
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.web import http

from webapp.server.asgi import refusal

logger = logging.getLogger("patchbay.server")

HEAD_BYTES = 2 * 1024 * 1024
"""Large enough that even an absurd header gets a proper answer (a bearer token of 1 MB: 401)."""
USUAL_HEAD_BYTES = 64 * 1024
LARGE_HEADS = 32
"""Connections that may have a head above USUAL_HEAD_BYTES at the same time."""

SWEEP_SECONDS = 2.0
"""Interval between sweeps. Time is counted in sweeps, so a process that was stopped for a while disconnects no client for it."""
IDLE_SWEEPS = 37
"""75 s between requests and before the first. Most proxies use 60 s, so they close first."""
HEAD_SWEEPS = 15
"""30 s from the first byte of a request to the end of its headers."""
BODY_SWEEPS = 30
BODY_BYTES = 16 * 1024
"""Bytes that each minute of a body must bring. Time in which the application makes the client wait does not count."""
UNREAD_SWEEPS = 15
"""30 s without a byte read, for the rest of a complete answer."""
LINGER_SWEEPS = 3
"""5 s for the client to read the refusal. Meanwhile its further bytes are discarded."""


class Stage(Enum):
    """The event that a connection waits for."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    ANSWER = auto()
    READER = auto()
    GOODBYE = auto()


PATIENCE = {
    Stage.IDLE: IDLE_SWEEPS,
    Stage.HEAD: HEAD_SWEEPS,
    Stage.BODY: BODY_SWEEPS,
    Stage.READER: UNREAD_SWEEPS,
    Stage.GOODBYE: LINGER_SWEEPS,
}
LEAST = {Stage.IDLE: 1, Stage.HEAD: 1, Stage.BODY: BODY_BYTES, Stage.READER: 1, Stage.GOODBYE: 1}
"""Bytes that the client must send or read within PATIENCE."""


class Channel(http.HTTPChannel):
    """One HTTP/1 connection. Requests run no code beyond Twisted's own; the sweep does the rest."""

    MAX_LENGTH = totalHeadersSize = HEAD_BYTES  # noqa: N815 - Twisted's name
    factory: Factory
    transport: Any

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # Twisted ships without annotations, here and below
        self._refused = False
        self._stage: Stage | None = None
        self._sweeps = 0
        self._mark = 0

    # --- the connection's life

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's name
        """Register the connection."""
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.factory.channels[self] = None

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802 - Twisted's name
        """Forget the connection."""
        self.factory.forget(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:  # noqa: N802 - Twisted's name
        """Get ready for the next request."""
        self._stage = None
        self.factory.large.discard(self)
        super().requestDone(request)  # type: ignore[no-untyped-call]

    # --- reading

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Parse received bytes, and refuse a head that is too large."""
        if self._refused:
            return
        LineReceiver.dataReceived(self, data)  # type: ignore[no-untyped-call]
        if self._receivedHeaderSize + len(self._buffer) > USUAL_HEAD_BYTES and not self._refused:
            self._enlarge()

    def _enlarge(self) -> None:
        large = self.factory.large
        if len(large) < LARGE_HEADS:
            large.add(self)
        elif self not in large:
            self.refuse(431, "The headers are too large.")

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Refuse folded headers."""
        if line[:1] in {b" ", b"\t"} and self.requests:
            self.refuse(400, "A header line begins with a space: folded headers are not allowed.")
        else:
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802, ARG002 - Twisted's name and signature
        """Refuse a line that is too long."""
        self.refuse(431 if self.requests else 414, f"A line of the request is longer than {HEAD_BYTES} bytes.")

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:  # noqa: N802 - Twisted's name
        value = data.lower()
        if header == b"Transfer-Encoding" and (value != b"chunked" or self._version != b"HTTP/1.1"):
            self.refuse(400, "Transfer-Encoding must be chunked, and only in HTTP/1.1.")
        elif header == b"Content-Length" and not (value.isdigit() and len(value) < 20):
            self.refuse(400, "Content-Length is not a number of bytes.")
        elif header in {b"Transfer-Encoding", b"Content-Length"} and self._transferDecoder is not None:
            self.refuse(400, "The request states the length of its body more than once.")
        else:
            return bool(super()._maybeChooseTransferDecoder(header, data))  # type: ignore[no-untyped-call]
        return False

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        """Begin the request. Twisted would send 100 Continue to every client with `Expect`, regardless of the answer."""
        request = self.requests[-1]
        self.persistent = self.checkPersistence(request, self._version)  # type: ignore[no-untyped-call]
        request.gotLength(self.length)

    # --- refusing

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802 - Twisted's name
        if self._receivedHeaderCount > self.maxHeaders:
            self.refuse(431, f"There are more than {self.maxHeaders} headers.")
        elif self._receivedHeaderSize > self.totalHeadersSize:
            self.refuse(431, "The headers are too large.")
        elif not self.line_mode:
            self.refuse(400, "A chunk of the body is malformed.")
        elif hasattr(self, "_command"):
            self.refuse(400, "A header of the request is malformed.")
        else:
            self.refuse(400, "The first line of the request is malformed.")

    def refuse(self, status: int, why: str) -> None:
        """Answer instead of the application and close the connection. An answer that has begun is cut off."""
        if self._refused:
            return
        self._refused, self._stage, self._buffer = True, None, b""
        logger.debug("A client was refused with %s: %s", status, why)  # debug level: a client cannot fill the log
        begun = False
        for request in self.requests:
            begun = bool(request.startedWriting)
            request.abandon()
        if begun:
            self.transport.abortConnection()
        else:
            self._send_last(refusal(status, why, getattr(self, "_path", b"")))

    def _send_last(self, answer: bytes) -> None:
        """Send a final answer and keep reading without processing: closing at once could destroy the answer on its way."""
        self._networkProducer.unregisterProducer()
        self.transport.write(answer)
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()

    # --- the sweep

    @property
    def stage(self) -> Stage:
        """Return the stage that the connection waits in."""
        if self._refused:
            return Stage.GOODBYE
        if self.transport.disconnecting:
            return Stage.READER
        if not self.line_mode:
            return Stage.ANSWER if self._handlingRequest else Stage.BODY
        if self._buffer or self.requests:
            return Stage.HEAD
        return Stage.READER if self.transport.unsent else Stage.IDLE

    def check(self) -> None:
        """Disconnect a client that keeps the server waiting. Called once per sweep."""
        stage = self.stage
        if stage is not self._stage or self._waits_for_server(stage):
            self._stage, self._sweeps, self._mark = stage, 0, self._progress(stage)
            return
        self._sweeps += 1
        if self._sweeps >= PATIENCE[stage]:
            before, self._sweeps, self._mark = self._mark, 0, self._progress(stage)
            if self._mark - before < LEAST[stage]:
                self._disconnect(stage)

    def _waits_for_server(self, stage: Stage) -> bool:
        if stage is not Stage.BODY:
            return stage is Stage.ANSWER
        body = self.requests[-1].body
        return bool(body.paused or body.invite)

    def _progress(self, stage: Stage) -> int:
        """Return a number that grows with the bytes that the client sends or reads."""
        if stage is Stage.BODY:
            return int(self.requests[-1].body.received)
        return -self.transport.unsent if stage is Stage.READER else 0

    def _disconnect(self, stage: Stage) -> None:
        if stage is Stage.HEAD:
            self.refuse(408, "The headers of the request did not arrive in time.")
        elif stage is Stage.BODY:
            self.refuse(408, "The body of the request did not arrive in time.")
        elif self.transport.unsent:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def make_way(self) -> bool:
        """Close the connection in favor of a newer one if it is idle; return whether it was closed."""
        waits = self.stage in {Stage.IDLE, Stage.HEAD}
        if waits:
            self.transport.abortConnection()
        return waits


class Factory(HTTPFactory):
    """Build channels and list the open ones, oldest first.

    Attributes:
        most: connections at once. Beyond that, the oldest idle connection is closed, or the new one if all are busy.
    """

    protocol = Channel

    def __init__(self, server: Any, *, request: Callable[..., Any], most: int) -> None:
        super().__init__(server)
        self.timeOut = None  # the sweep replaces Twisted's timers
        self.most = most
        self.channels: dict[Channel, None] = {}
        self.large: set[Channel] = set()
        self._request = request

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        """Accept a connection, and close an idle one when there are too many."""
        if len(self.channels) >= self.most and not self._make_room():
            return None
        channel: Any = super().buildProtocol(addr)
        channel.requestFactory = self._request
        return channel

    def _make_room(self) -> bool:
        idle = next((channel for channel in self.channels if channel.make_way()), None)
        if idle is not None:
            self.forget(idle)
        return idle is not None

    def forget(self, channel: Channel) -> None:
        """Forget a closed connection."""
        self.channels.pop(channel, None)
        self.large.discard(channel)

    def sweep(self) -> None:
        """Check every connection, and forget those that became websockets or were lost."""
        for channel in list(self.channels):
            if getattr(channel.transport, "protocol", None) is channel:  # a lost connection has none
                channel.check()
            else:
                self.forget(channel)
