"""Daphne with its holes closed.

Daphne reads a whole body before the application sees the request, and buffers without bound what a client does not read (docs/adr/0001).
Here the application starts when the headers are in and pulls the body as it wants it; writes wait while the client's buffer is full; a
client that stays full is cut; a stop closes websockets with 1012 and runs the ASGI lifespan.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from autobahn.exception import Disconnected
from autobahn.websocket.types import ConnectionDeny
from daphne.http_protocol import HTTPFactory, WebRequest
from daphne.server import Server
from daphne.utils import HEADER_NAME_RE, INVALID_HEADER_VALUE_BYTES, parse_x_forwarded_for
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import defer, reactor
from twisted.internet.tcp import Port
from twisted.web import http

from webapp import background
from webapp.server.eager import EagerTransport, text_frame
from webapp.server.http import Application, Scope, invalid_request
from webapp.server.lifespan import Lifespan
from webapp.server.websocket import MAX_MESSAGE_BYTES

logger = logging.getLogger("patchbay.server")

BODY_BUFFER_BYTES = 256 * 1024
"""Body bytes held for an application that is slower than its client."""
HEADER_BYTES = 2 * 1024 * 1024
"""An absurd header still gets its answer (a bearer token of 1 MB: 401)."""
LINGER_SECONDS = 5
"""How long a client may go on sending after the answer, or the close code, is out."""
UNREAD_SECONDS = 30
"""How long a client may leave a full buffer unread before it is cut."""
GOING_AWAY = 1012
SERVER_CODES = range(1001, 1015)


class Writable:
    """Twisted's push-producer interface as an event: clear while the client's buffer is full."""

    def __init__(self) -> None:
        self.event = asyncio.Event()
        self.event.set()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.event.clear()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        self.event.set()

    stopProducing = resumeProducing  # noqa: N815 - Twisted's name

    async def wait(self) -> bool:
        """Wait until the client reads; False when it does not for too long."""
        if self.event.is_set():
            return True
        try:
            await asyncio.wait_for(self.event.wait(), UNREAD_SECONDS)
        except TimeoutError:
            return False
        return True


class Body:
    """A request's body between the socket and the application: bounded, pulled, never whole in memory."""

    def __init__(self, pause: Callable[[], None], resume: Callable[[], None]) -> None:
        self.complete = False
        self._pause, self._resume = pause, resume
        self._chunks: deque[bytes] = deque()
        self._size = 0
        self._gone = False
        self._discarding = False
        self._delivered = False
        self._news = asyncio.Event()

    def add(self, data: bytes) -> None:
        if self._discarding:
            return
        self._chunks.append(data)
        self._size += len(data)
        if self._size > BODY_BUFFER_BYTES:
            self._pause()
        self._news.set()

    def end(self) -> None:
        self.complete = True
        self._news.set()

    def disconnect(self) -> None:
        self._gone = True
        self._news.set()

    def discard(self) -> None:
        """Drop what came and what comes: the answer is out."""
        self._discarding = True
        self._chunks.clear()
        self._resume()

    async def receive(self) -> dict[str, Any]:
        """ASGI's receive: the body, then the disconnect."""
        while not self._gone:
            if self._chunks or (self.complete and not self._delivered):
                return self._next()
            self._news.clear()
            await self._news.wait()
        return {"type": "http.disconnect"}

    def _next(self) -> dict[str, Any]:
        data = b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        self._delivered = self.complete
        self._resume()
        return {"type": "http.request", "body": data, "more_body": not self.complete}


class Request(WebRequest):
    """An HTTP request whose application starts at the end of the headers."""

    body: Body | None = None

    def gotLength(self, length: int | None) -> None:  # noqa: N802, ARG002 - Twisted's name and signature
        self.content = BytesIO()  # stays empty: the body goes to the application
        if self.requestHeaders.getRawHeaders(b"Upgrade", [b""])[0].lower() == b"websocket":
            return
        channel = self.channel
        self.body = Body(channel._networkProducer.pauseProducing, channel._networkProducer.resumeProducing)  # noqa: SLF001 - no public way
        self.method, self.uri, self.clientproto = channel._command, channel._path, channel._version  # noqa: SLF001 - set later otherwise
        self.path, _, self.query_string = _origin_form(self.uri).partition(b"?")
        self.writable = Writable()
        self.registerProducer(self.writable, True)  # noqa: FBT003 - Twisted's signature
        self._begin()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        if self.body:
            self.body.add(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        if not self.body:
            super().requestReceived(command, path, version)
            return
        self.body.end()
        if self._answered:
            self._hang_up()

    _answered = False

    def _begin(self) -> None:
        problem = self._problem()
        if problem:
            self._refuse(problem)
            return
        self.application_queue = _Nowhere()  # Daphne's own signals for it are ours to give, through the body
        self.server.start_http(self, self._scope())

    def _problem(self) -> str:
        for name, values in self.requestHeaders.getAllRawHeaders():
            if not HEADER_NAME_RE.fullmatch(name) or any(INVALID_HEADER_VALUE_BYTES.intersection(value) for value in values):
                return "A header of the request is invalid."
        if len(self.requestHeaders.getRawHeaders(b"host", ())) != 1 and self.clientproto != b"HTTP/1.0":
            return "The request must have one Host header."
        return "" if self.uri.isascii() else "The address of the request is invalid."

    def _refuse(self, problem: str) -> None:
        raw = json.dumps(invalid_request(problem)).encode()
        length, request_id = str(len(raw)).encode(), uuid.uuid4().hex.encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), (b"x-request-id", request_id)]
        self.handle_reply({"type": "http.response.start", "status": 400, "headers": headers})
        self.handle_reply({"type": "http.response.body", "body": raw})

    def _scope(self) -> Scope:
        headers = [(name.lower(), value) for name, values in self.requestHeaders.getAllRawHeaders() if b"_" not in name for value in values]
        client, scheme = [str(self.client.host), self.client.port], "https" if self.isSecure() else "http"
        if self.server.proxy_forwarded_address_header:
            client, scheme = parse_x_forwarded_for(
                self.requestHeaders, self.server.proxy_forwarded_address_header, self.server.proxy_forwarded_port_header,
                self.server.proxy_forwarded_proto_header, client, scheme,
            )  # fmt: skip
        return {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": self.clientproto.split(b"/")[-1].decode("ascii"),
            "method": self.method.decode("ascii"),
            "path": unquote(self.path.decode("ascii")),
            "raw_path": self.path,
            "root_path": self.server.root_path,
            "scheme": scheme,
            "query_string": self.query_string,
            "headers": headers,
            "client": client,
            "server": [str(self.host.host), self.host.port],
        }

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Pass the application's message on; a whole answer to a half-read body ends the connection."""
        early = self.body is not None and not self.body.complete
        if early and message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
        if early and self._response_started and not message.get("more_body", False) and not self.finished:
            self._answer_early(message.get("body", b""))
            return
        super().handle_reply(message)

    def _answer_early(self, data: bytes) -> None:
        """Send the end of the answer, then swallow the rest of the body for a while, so that the client gets to read it."""
        if self._answered or self.body is None or self.channel is None:
            return
        self._answered = True
        http.Request.write(self, data)  # type: ignore[no-untyped-call]  # Twisted ships without annotations here
        if self.chunked:
            self.channel.write(b"0\r\n\r\n")
        self.unregisterProducer()
        self.body.discard()
        asyncio.get_event_loop().call_later(LINGER_SECONDS, self._hang_up)

    def _hang_up(self) -> None:
        if self.channel is not None and not self._disconnected:
            self.channel.loseConnection()

    def finish(self) -> None:
        if self.producer:
            self.unregisterProducer()
        super().finish()
        if self.body:
            self.body.disconnect()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        if self.body:
            self.body.disconnect()
            self.writable.resumeProducing()
        super().connectionLost(reason)

    async def ready_to_write(self) -> bool:
        return await self.writable.wait() if self.body else True

    def cut(self) -> None:
        if self.channel is not None:
            self.channel.forceAbortClient()


def _origin_form(target: bytes) -> bytes:
    """The target as servers are asked for it; what is asked of proxies begins with a scheme and a host (RFC 9112, 3.2.2)."""
    if not target.lower().startswith((b"http://", b"https://")):
        return target
    _host, slash, rest = target.partition(b"://")[2].partition(b"/")
    return slash + rest or b"/"


class _Nowhere:
    """Takes the messages that Daphne would queue for an application: our body gives them itself."""

    def put_nowait(self, _message: Any) -> None:
        return


class WebSocket(WebSocketProtocol):
    """A websocket whose sender waits for its reader."""

    writable: Writable | None = None

    def onOpen(self) -> None:  # noqa: N802 - autobahn's name
        self.writable = Writable()
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.writable, True)  # noqa: FBT003 - Twisted's signature
        super().onOpen()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803, FBT001 - autobahn's signature
        if self.writable:
            self.writable.resumeProducing()
        super().onClose(wasClean, code, reason)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Daphne's own replies, and ASGI's denial response: the handshake is refused with a status."""
        if message["type"] == "websocket.http.response.start":
            status: int = message["status"]
            self.handshake_deferred.errback(ConnectionDeny(status, HTTPStatus(status).phrase))  # type: ignore[no-untyped-call]  # autobahn has no types here
            del self.handshake_deferred
            self.server.protocol_disconnected(self)
        elif message["type"] == "websocket.send" and message.get("text") and self._plain():
            self.transport.write(text_frame(message["text"].encode()))
        elif message["type"] != "websocket.http.response.body":
            try:
                super().handle_reply(message)
            except Disconnected as gone:
                raise ConnectionResetError("the client closed the socket") from gone  # what ASGI promises to who sends then

    def _plain(self) -> bool:
        """Whether a frame may go straight to the socket: autobahn colours a log line for each that it sends, read or not."""
        return self.state == self.STATE_OPEN and not self.send_queue and self._perMessageCompress is None

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:  # noqa: N802 - autobahn's name
        """Close with any code of a server; autobahn takes those of applications only."""
        if code in SERVER_CODES:
            self.sendCloseFrame(code)
        else:
            super().sendClose(code, reason)

    async def ready_to_write(self) -> bool:
        return await self.writable.wait() if self.writable else True

    def go_away(self) -> None:
        if self.state == self.STATE_OPEN:
            self.sendClose(GOING_AWAY)
        else:
            self.cut()

    def cut(self) -> None:
        self.transport.abortConnection()


class Factory(HTTPFactory):
    """Builds channels that make our requests."""

    def buildProtocol(self, addr: Any) -> Any:  # noqa: N802 - Twisted's name
        protocol = super().buildProtocol(addr)
        protocol.requestFactory = Request
        channel = protocol._channel  # noqa: SLF001 - Twisted's limit of 16 KB hangs up without an answer
        channel.MAX_LENGTH = channel.totalHeadersSize = HEADER_BYTES
        return protocol


class PatchbayServer(Server):
    """Daphne's server over our protocols, with the ASGI lifespan."""

    def __init__(self, application: Application, *, host: str, port: int, on_listening: Callable[[str, int], None], **options: Any) -> None:
        address = host.replace(":", r"\:")
        sizes = {"websocket_max_message_size": MAX_MESSAGE_BYTES, "websocket_max_frame_size": MAX_MESSAGE_BYTES}
        super().__init__(application, endpoints=[f"tcp:port={port}:interface={address}"], server_name="", **sizes, **options)
        self.on_listening = on_listening
        self.failed: str = ""
        self._lifespan: Lifespan | None = None

    def run(self) -> None:
        import daphne.server as module

        module.HTTPFactory = Factory  # the one place where Daphne names its classes
        loop = reactor._asyncioEventloop  # noqa: SLF001 - Daphne itself takes it from here
        asyncio.set_event_loop(loop)
        self._lifespan = Lifespan(self.application)
        loop.run_until_complete(self._lifespan.start())
        super().run()

    def listen_success(self, port: Any) -> None:
        super().listen_success(port)
        port.transport = EagerTransport
        self.ws_factory.protocol = WebSocket
        self.ws_factory.failByDrop = False  # the close code says what was wrong
        self.ws_factory.closeHandshakeTimeout = LINGER_SECONDS  # who is still sending gets to read it
        self.on_listening(port.getHost().host, port.getHost().port)

    def listen_error(self, failure: Any) -> None:
        self.failed = failure.getErrorMessage()
        reactor.callWhenRunning(self.stop)

    def start_http(self, request: Request, scope: Scope) -> None:
        """Run the application for a request whose headers are in."""
        if request not in self.connections or request.body is None:
            return
        coroutine = self.application(scope, request.body.receive, partial(self.handle_reply, request))
        application = self.connections[request]["application_instance"] = asyncio.ensure_future(coroutine)
        background.finish_first(application)

    async def handle_reply(self, protocol: Any, message: Any) -> None:
        """Send, once the client's buffer has room; a client that leaves it full is cut."""
        if message["type"] in {"http.response.body", "websocket.send"} and not await protocol.ready_to_write():
            logger.warning("A client left its buffer full for %s s and was cut", UNREAD_SECONDS)
            protocol.cut()
            return
        await super().handle_reply(protocol, message)

    def kill_all_applications(self) -> Any:
        """Take no more connections, close the sockets (1012), give what is under way its time, stop the services, cancel what is left."""
        return defer.Deferred.fromFuture(asyncio.ensure_future(self._shut_down()))

    async def _shut_down(self) -> None:
        for listener in self.listeners:
            if isinstance(listener.result, Port):
                listener.result.stopListening()  # type: ignore[no-untyped-call]  # Twisted ships without annotations here
        for protocol in list(self.connections):
            if isinstance(protocol, WebSocket):
                protocol.go_away()
        if self._lifespan:
            await self._lifespan.stop()
        running = [task for details in self.connections.values() if (task := details.get("application_instance")) and not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1)
