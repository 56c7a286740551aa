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
from webapp.server.daphne.fast_requests import FastRequest, read_head, scope_of
from webapp.server.daphne.flow_control import Body, Writable

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
        self._fast: FastRequest | None = None
        self._writable = Writable()
        self._ends: tuple[list[Any], list[Any]] | None = None
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
        if self._fast:
            self._fast.leave()
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
        if self._fast:
            self._fast.feed(data)
            return
        if self._is_between_requests and self._begin_fast(data):
            return
        LineReceiver.dataReceived(self, data)  # type: ignore[no-untyped-call]
        if self._receivedHeaderSize + len(self._buffer) > USUAL_HEAD_BYTES and not self._refused:
            self._enlarge()

    # --- usual requests (`fast_requests`)

    @property
    def _is_between_requests(self) -> bool:
        return not (self._buffer or self.requests) and bool(self.line_mode)

    def _begin_fast(self, data: bytes) -> bool:
        """Begin a usual request; return False for any other one."""
        server = self.factory.server
        head = None if server.proxy_forwarded_address_header else read_head(data)
        if head is None:
            return False
        client, own = self._addresses()
        scheme = "https" if self.isSecure() else "http"  # type: ignore[no-untyped-call]
        scope = scope_of(head, scheme=scheme, client=client, server=own, root_path=server.root_path)
        self._stage = None
        self._fast = FastRequest(head, self.transport, self._writable, self._fast_ended)
        self._fast.feed(data[head.size :])
        server.run_fast(self._fast, scope)
        return True

    def _addresses(self) -> tuple[list[Any], list[Any]]:
        """Return the client's address and the server's, each as host and port."""
        if self._ends is None:
            client, own = self.transport.getPeer(), self.transport.getHost()
            self._ends = [str(client.host), client.port], [str(own.host), own.port]
        return self._ends

    def _fast_ended(self, request: FastRequest) -> None:
        self._fast, self._stage = None, None
        if not request.complete:
            return  # the request closes the connection
        if not request.body.complete:
            self._refused = True  # the client may go on sending for a while
            self._say_goodbye()
        elif request.waiting:
            self.transport.resumeProducing()
            self.dataReceived(request.waiting)

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let writers wait: the client's buffer is full. A usual request goes on reading, so that a disconnect is noticed."""
        self._writable.pauseProducing()
        if not self._fast:
            super().pauseProducing()  # type: ignore[no-untyped-call]

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """Let writers go on."""
        self._writable.resumeProducing()
        super().resumeProducing()  # type: ignore[no-untyped-call]

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
        if self._fast:
            begun, fast, self._fast = self._fast.begun, self._fast, None
            fast.leave()
        for request in self.requests:
            begun = bool(request.startedWriting)
            request.abandon()
        if begun:
            self.transport.abortConnection()
        else:
            self._send_last(refusal(status, why, getattr(self, "_path", b"")))

    def _send_last(self, answer: bytes) -> None:
        """Send a final answer and keep reading without processing: closing at once could destroy the answer on its way."""
        self.transport.write(answer)
        self._say_goodbye()

    def _say_goodbye(self) -> None:
        """End the connection for writing, and read on."""
        self._networkProducer.unregisterProducer()
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
        if self._fast:
            return Stage.ANSWER if self._fast.body.complete else Stage.BODY
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
        return bool(self._body.paused or self._body.invite)

    @property
    def _body(self) -> Body:
        body: Body = self._fast.body if self._fast else self.requests[-1].body
        return body

    def _progress(self, stage: Stage) -> int:
        """Return a number that grows with the bytes that the client sends or reads."""
        if stage is Stage.BODY:
            return self._body.received
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

    def log(self, request: Any) -> None:
        """Do nothing: Twisted formats a line of an access log for each request and writes it nowhere."""

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
