"""A connection: requests are read strictly, what is wrong with one is said, and slow or silent clients are let go.

Twisted answers all malformed requests with a bare 400, waits for ever for one that comes a byte at a time, and joins the continuation lines
of a header at a cost that grows with the square of their number.
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
"""An absurd header still gets its answer (a bearer token of 1 MB: 401)."""
USUAL_HEAD_BYTES = 64 * 1024
LARGE_HEADS = 32
"""How many connections may have a head above USUAL_HEAD_BYTES at once."""

SWEEP_SECONDS = 2.0
"""How often connections are looked at. Time is counted in these: a process that was stopped for a while blames nobody."""
IDLE_SWEEPS = 37
"""75 s between requests, and before the first: more than the 60 s of most proxies, so that they close first."""
HEAD_SWEEPS = 15
"""30 s from the first byte of a request to the end of its headers."""
BODY_SWEEPS = 30
BODY_BYTES = 16 * 1024
"""Each minute of a body must bring this many bytes; what the application makes a client wait does not count."""
UNREAD_SWEEPS = 15
"""30 s without a byte read, for the rest of an answer that is complete."""
LINGER_SWEEPS = 3
"""5 s to read why it was refused, while what it still sends is thrown away."""


class Stage(Enum):
    """What a connection waits for."""

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
"""What a client must have done in that time: bytes sent or read, where such count."""


class Channel(http.HTTPChannel):
    """One HTTP/1 connection. Nothing here runs for each request that was not in Twisted: the rest is the sweep's."""

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
        super().connectionMade()  # type: ignore[no-untyped-call]
        self.factory.channels[self] = None

    def connectionLost(self, reason: Any = connectionDone) -> None:  # noqa: N802 - Twisted's name
        self.factory.forget(self)
        super().connectionLost(reason)  # type: ignore[no-untyped-call]

    def requestDone(self, request: Any) -> None:  # noqa: N802 - Twisted's name
        self._stage = None
        self.factory.large.discard(self)
        super().requestDone(request)  # type: ignore[no-untyped-call]

    # --- reading

    def dataReceived(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
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
        if line[:1] in {b" ", b"\t"} and self.requests:
            self.refuse(400, "A header line begins with a space: headers may not be folded.")
        else:
            super().lineReceived(line)  # type: ignore[no-untyped-call]

    def lineLengthExceeded(self, line: bytes) -> None:  # noqa: N802, ARG002 - Twisted's name and signature
        self.refuse(431 if self.requests else 414, f"A line of the request is longer than {HEAD_BYTES} bytes.")

    def _maybeChooseTransferDecoder(self, header: bytes, data: bytes) -> bool:  # noqa: N802 - Twisted's name
        value = data.lower()
        if header == b"Transfer-Encoding" and (value != b"chunked" or self._version != b"HTTP/1.1"):
            self.refuse(400, "Transfer-Encoding may only be chunked, of HTTP/1.1.")
        elif header == b"Content-Length" and not (value.isdigit() and len(value) < 20):
            self.refuse(400, "Content-Length is no number of bytes.")
        elif header in {b"Transfer-Encoding", b"Content-Length"} and self._transferDecoder is not None:
            self.refuse(400, "The request says more than once how long its body is.")
        else:
            return bool(super()._maybeChooseTransferDecoder(header, data))  # type: ignore[no-untyped-call]
        return False

    def allHeadersReceived(self) -> None:  # noqa: N802 - Twisted's name
        """Begin the request. Twisted would invite every client that sends `Expect` to go on, whatever the answer will be."""
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
        """Answer in the application's place and end the connection; where its answer has begun, that is cut off."""
        if self._refused:
            return
        self._refused, self._stage, self._buffer = True, None, b""
        logger.debug("A client was refused with %s: %s", status, why)  # nobody fills the log with it
        begun = False
        for request in self.requests:
            begun = bool(request.startedWriting)
            request.abandon()
        if begun:
            self.transport.abortConnection()
        else:
            self._say_goodbye(refusal(status, why, getattr(self, "_path", b"")))

    def _say_goodbye(self, answer: bytes) -> None:
        """Send this and no more, and read on without looking, since closing now could take the answer from the client."""
        self._networkProducer.unregisterProducer()
        self.transport.write(answer)
        self.transport.loseWriteConnection()
        self.transport.resumeProducing()

    # --- the sweep

    @property
    def stage(self) -> Stage:
        if self._refused:
            return Stage.GOODBYE
        if self.transport.disconnecting:
            return Stage.READER
        if not self.line_mode:
            return Stage.ANSWER if self._handlingRequest else Stage.BODY
        if self._buffer or self.requests:
            return Stage.HEAD
        return Stage.READER if self.transport.unsent else Stage.IDLE

    def look(self) -> None:
        """Once a sweep: let go of a client that keeps the server waiting."""
        stage = self.stage
        if stage is not self._stage or self._waits_for_us(stage):
            self._stage, self._sweeps, self._mark = stage, 0, self._progress(stage)
            return
        self._sweeps += 1
        if self._sweeps >= PATIENCE[stage]:
            before, self._sweeps, self._mark = self._mark, 0, self._progress(stage)
            if self._mark - before < LEAST[stage]:
                self._let_go(stage)

    def _waits_for_us(self, stage: Stage) -> bool:
        if stage is not Stage.BODY:
            return stage is Stage.ANSWER
        body = self.requests[-1].body
        return bool(body.paused or body.invite)

    def _progress(self, stage: Stage) -> int:
        """A number that grows with what the client does."""
        if stage is Stage.BODY:
            return int(self.requests[-1].body.received)
        return -self.transport.unsent if stage is Stage.READER else 0

    def _let_go(self, stage: Stage) -> None:
        if stage is Stage.HEAD:
            self.refuse(408, "The headers of the request did not come in time.")
        elif stage is Stage.BODY:
            self.refuse(408, "The body of the request did not come in time.")
        elif self.transport.unsent:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def make_way(self) -> bool:
        """Close the connection for a newer one, if it is not in use; whether it was."""
        waits = self.stage in {Stage.IDLE, Stage.HEAD}
        if waits:
            self.transport.abortConnection()
        return waits


class Factory(HTTPFactory):
    """Builds channels and keeps the list of those that are open, the oldest first.

    Attributes:
        most: connections at once; beyond, the oldest that has no request under way makes way, or else the new one is closed.
    """

    protocol = Channel

    def __init__(self, server: Any, *, request: Callable[..., Any], most: int) -> None:
        super().__init__(server)
        self.timeOut = None  # Twisted's timers; the sweep is ours
        self.most = most
        self.channels: dict[Channel, None] = {}
        self.large: set[Channel] = set()
        self._request = request

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
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
        self.channels.pop(channel, None)
        self.large.discard(channel)

    def sweep(self) -> None:
        """Look at every connection; those that became websockets, gone by now or not, are no longer ours."""
        for channel in list(self.channels):
            if getattr(channel.transport, "protocol", None) is channel:  # a lost connection has none
                channel.look()
            else:
                self.forget(channel)
