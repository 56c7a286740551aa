"""Serve with Daphne, with bounded memory for bodies and slow readers (docs/adr/0001).

Daphne reads a complete body before the application sees the request, and buffers without bound for a client that does not read. Here the
application starts when the headers are complete and pulls the body. Writes wait while the client's buffer is full, and a client that
stays full is disconnected. A stop closes websockets with 1012 and runs the ASGI lifespan.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import unquote

from autobahn.exception import Disconnected
from autobahn.websocket.types import ConnectionDeny
from daphne.http_protocol import WebRequest
from daphne.server import Server
from daphne.utils import HEADER_NAME_RE, INVALID_HEADER_VALUE_BYTES, parse_x_forwarded_for
from daphne.ws_protocol import WebSocketProtocol
from twisted.internet import defer, reactor
from twisted.internet.tcp import Port
from twisted.web import http

from webapp.core import background
from webapp.server.asgi import Application, Scope
from webapp.server.body_limits import open_files
from webapp.server.daphne import connection
from webapp.server.daphne.fast_requests import FastRequest
from webapp.server.daphne.fast_writes import EagerTransport, text_frame
from webapp.server.daphne.flow_control import UNREAD_SECONDS, Body, Writable
from webapp.server.lifespan import Lifespan
from webapp.server.websocket import MAX_MESSAGE_BYTES

logger = logging.getLogger("patchbay.server")

LINGER_SECONDS = 5
"""Seconds that a client may continue sending after the answer or the close code is sent."""
GOING_AWAY = 1012
SERVER_CODES = range(1001, 1015)


class Request(WebRequest):
    """An HTTP request whose application starts when the headers are complete."""

    body: Body | None = None

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """Prepare to pass the body on as it arrives."""
        self.content = BytesIO()  # stays empty: the body goes to the application
        if length == 0 and self.requestHeaders.getRawHeaders(b"Upgrade", [b""])[0].lower() == b"websocket":
            return
        mine = self.channel
        self.body = Body(mine._networkProducer.pauseProducing, mine._networkProducer.resumeProducing)  # noqa: SLF001 - no public way
        self.method, self.uri, self.clientproto = mine._command, mine._path, mine._version  # noqa: SLF001 - Twisted sets them later
        self.path, _, self.query_string = _origin_form(self.uri).partition(b"?")
        self.writable = Writable()
        self.registerProducer(self.writable, True)  # noqa: FBT003 - Twisted's signature
        self._begin()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """Pass a piece of the body on."""
        if self.body:
            self.body.add(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """End the body, or start the application when there is none."""
        if not self.body:
            super().requestReceived(command, path, version)
            return
        self.body.end()
        if self._answered:
            self._hang_up()

    _answered = _abandoned = False

    def _begin(self) -> None:
        problem = self._problem()
        if problem:
            self.channel.refuse(400, problem)
            return
        if not self._expects():
            self.channel.refuse(417, "Expect may only be 100-continue.")
            return
        self.application_queue = _Nowhere()  # the body delivers these messages instead of Daphne
        self.server.start_http(self, self._scope())

    def _problem(self) -> str:
        for name, values in self.requestHeaders.getAllRawHeaders():
            if not HEADER_NAME_RE.fullmatch(name) or any(INVALID_HEADER_VALUE_BYTES.intersection(value) for value in values):
                return "A header of the request is invalid."
        if len(self.requestHeaders.getRawHeaders(b"host", ())) != 1 and self.clientproto != b"HTTP/1.0":
            return "The request must have one Host header."
        return "" if self.uri.isascii() else "The address of the request is invalid."

    def _expects(self) -> bool:
        """Prepare the answer to `Expect: 100-continue`; return False for any other expectation."""
        expected = self.requestHeaders.getRawHeaders(b"expect")
        if expected and self.body and self.clientproto == b"HTTP/1.1":
            self.body.invite = self.channel._send100Continue  # noqa: SLF001 - Twisted would send it now, before the answer is known
        return not expected or [value.lower() for value in expected] == [b"100-continue"]

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
        """Pass the application's message on. A complete answer to an unread body ends the connection."""
        if self._abandoned:
            return
        early = self.body is not None and not self.body.complete
        if early and message["type"] == "http.response.start":
            message = self._last_of_connection(message)
        if early and self._response_started and not message.get("more_body", False) and not self.finished:
            self._answer_early(message.get("body", b""))
            return
        super().handle_reply(message)

    def _last_of_connection(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return the start of an answer with `Connection: close`, since the rest of the body is not read."""
        if self.body:
            self.body.invite = None
        headers = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
        return {**message, "headers": [*headers, (b"connection", b"close")]}

    def abandon(self) -> None:
        """Tell the application that the client is gone, because the connection answers instead."""
        self._abandoned = True
        if self.body:
            self.body.disconnect()
            self.writable.resumeProducing()

    def _answer_early(self, data: bytes) -> None:
        """Send the end of the answer, then discard the rest of the body for a while, so that the client can read the answer."""
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
        """End the response."""
        if self.producer:
            self.unregisterProducer()
        super().finish()
        if self.body:
            self.body.disconnect()

    def connectionLost(self, reason: Any) -> None:  # noqa: N802 - Twisted's name
        """Tell the application that the client is gone."""
        if self.body:
            self.body.disconnect()
            self.writable.resumeProducing()
        super().connectionLost(reason)

    async def ready_to_write(self) -> bool:
        """Wait until the client reads, and return whether it is still there."""
        return await self.writable.wait() if self.body else True

    def cut(self) -> None:
        """Close the connection at once."""
        if self.channel is not None:
            self.channel.forceAbortClient()

    def handle_exception(self, exception: BaseException) -> None:
        """Close the connection where the answer has begun: the client sees that it is not whole. Daphne leaves it open."""
        if self._response_started:
            self._hang_up()
        else:
            super().handle_exception(exception)


def _origin_form(target: bytes) -> bytes:
    """Return a request target without its scheme and host, which clients send to proxies (RFC 9112, section 3.2.2)."""
    if not target.lower().startswith((b"http://", b"https://")):
        return target
    _host, slash, rest = target.partition(b"://")[2].partition(b"/")
    return slash + rest or b"/"


class _Nowhere:
    """Discard the messages that Daphne would queue for an application: `Body` delivers them."""

    def put_nowait(self, _message: Any) -> None:
        return


class WebSocket(WebSocketProtocol):
    """A websocket whose sender waits while the client's buffer is full."""

    writable: Writable | None = None

    def onOpen(self) -> None:  # noqa: N802 - autobahn's name
        """Follow how fast the client reads."""
        self.writable = Writable()
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.writable, True)  # noqa: FBT003 - Twisted's signature
        super().onOpen()

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: N802, N803, FBT001 - autobahn's signature
        """Release a writer that waits."""
        if self.writable:
            self.writable.resumeProducing()
        super().onClose(wasClean, code, reason)

    def handle_reply(self, message: dict[str, Any]) -> None:
        """Handle Daphne's replies, and ASGI's denial response, which refuses the handshake with a status."""
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
                raise ConnectionResetError("the client closed the socket") from gone  # the exception that ASGI specifies

    def _plain(self) -> bool:
        """Return whether a frame may bypass autobahn, which formats a log line for each frame even when it is not logged."""
        return self.state == self.STATE_OPEN and not self.send_queue and self._perMessageCompress is None

    def sendClose(self, code: int | None = None, reason: str | None = None) -> None:  # noqa: N802 - autobahn's name
        """Close with any server code. Autobahn accepts only application codes."""
        if code in SERVER_CODES:
            self.sendCloseFrame(code)
        else:
            super().sendClose(code, reason)

    async def ready_to_write(self) -> bool:
        """Wait until the client reads, and return whether it is still there."""
        return await self.writable.wait() if self.writable else True

    def go_away(self) -> None:
        """Close with the code for a server that stops."""
        if self.state == self.STATE_OPEN:
            self.sendClose(GOING_AWAY)
        else:
            self.cut()

    def cut(self) -> None:
        """Close the connection at once."""
        self.transport.abortConnection()


BACKLOG = 2048
"""Connections that wait to be accepted by a worker."""


class PatchbayServer(Server):
    """Daphne's server with our protocols and the ASGI lifespan."""

    def __init__(
        self,
        application: Application,
        *,
        host: str,
        port: int,
        on_listening: Callable[[str, int], None],
        opened: socket.socket | None = None,
        **options: Any,
    ) -> None:
        address = host.replace(":", r"\:")
        endpoint = f"tcp:port={port}:interface={address}"
        if opened is not None:  # the port is shared with other workers
            opened.listen(BACKLOG)
            endpoint = f"fd:fileno={opened.fileno()}"
            self._opened = opened
        sizes = {"websocket_max_message_size": MAX_MESSAGE_BYTES, "websocket_max_frame_size": MAX_MESSAGE_BYTES}
        super().__init__(application, endpoints=[endpoint], server_name="", **sizes, **options)
        self.on_listening = on_listening
        self._fast_requests: set[asyncio.Task[None]] = set()
        self.failed: str = ""
        self._lifespan: Lifespan | None = None

    def run(self) -> None:
        """Serve until stopped, with Patchbay's own connections."""
        import daphne.server as module

        module.HTTPFactory = partial(
            connection.Factory, request=Request, most=open_files() // 2
        )  # Daphne has no argument for its HTTP factory
        loop = reactor._asyncioEventloop  # noqa: SLF001 - Daphne uses the same attribute
        asyncio.set_event_loop(loop)
        self._lifespan = Lifespan(self.application)
        loop.run_until_complete(self._lifespan.start())
        super().run()

    def listen_success(self, port: Any) -> None:
        """Use Patchbay's transport and websocket."""
        super().listen_success(port)
        port.transport = EagerTransport
        self.ws_factory.protocol = WebSocket
        self.ws_factory.failByDrop = False  # the client gets a close code with the reason
        self.ws_factory.closeHandshakeTimeout = LINGER_SECONDS  # a client that is still sending can read it
        self._sweep()
        self.on_listening(port.getHost().host, port.getHost().port)

    def _sweep(self) -> None:
        asyncio.get_event_loop().call_later(connection.SWEEP_SECONDS, self._sweep)
        self.http_factory.sweep()

    def listen_error(self, failure: Any) -> None:
        """Keep the reason and stop."""
        self.failed = failure.getErrorMessage()
        reactor.callWhenRunning(self.stop)

    def start_http(self, request: Request, scope: Scope) -> None:
        """Run the application for a request whose headers are complete."""
        if request not in self.connections or request.body is None:
            return
        coroutine = self.application(scope, request.body.receive, partial(self.handle_reply, request))
        application = self.connections[request]["application_instance"] = asyncio.ensure_future(coroutine)
        background.track_pending(application)

    def run_fast(self, request: FastRequest, scope: Scope) -> None:
        """Run the application for a usual request (`fast_requests`)."""
        task = request.run(self.application, scope)
        self._fast_requests.add(task)
        task.add_done_callback(self._fast_requests.discard)

    async def handle_reply(self, protocol: Any, message: Any) -> None:
        """Send when the client's buffer has room. Disconnect a client that leaves it full."""
        if message["type"] in {"http.response.body", "websocket.send"} and not await protocol.ready_to_write():
            logger.warning("A client left its buffer full for %s s and was disconnected", UNREAD_SECONDS)
            protocol.cut()
            return
        await super().handle_reply(protocol, message)

    def kill_all_applications(self) -> Any:
        """Stop accepting connections, close sockets with 1012, wait the grace period, stop the services, cancel the rest."""
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
        running += self._fast_requests
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=1)
