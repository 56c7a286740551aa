"""Connect an HTTP client to an ASGI application in the same process. It streams, and closing the response stops the application.

httpx2's ASGITransport returns a response only when the application has finished, so it cannot stream.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx2

from webapp.server.asgi import Application

logger = logging.getLogger("patchbay.builtin")
BUFFERED_MESSAGES = 64


class InProcess(httpx2.AsyncBaseTransport):
    """Send requests directly to an ASGI application.

    Args:
        app: the application.
    """

    def __init__(self, app: Application) -> None:
        self.app = app

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Answer a request by the application in this process."""
        exchange = _Exchange(await request.aread())
        exchange.start(self.app, _scope(request))
        start = await exchange.next()
        if start["type"] != "http.response.start":
            raise httpx2.RemoteProtocolError("The application answered nothing.", request=request)
        return httpx2.Response(start["status"], headers=list(start.get("headers", ())), stream=_Body(exchange, request))


class _Exchange:
    """One request and its answer. The application runs as a task, a few messages ahead of the reader."""

    def __init__(self, body: bytes) -> None:
        self._incoming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
        self._outgoing: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._room = asyncio.Semaphore(BUFFERED_MESSAGES)

    def start(self, app: Application, scope: dict[str, Any]) -> None:
        self._task = asyncio.ensure_future(self._run(app, scope))

    async def next(self) -> Mapping[str, Any]:
        """Return the application's next message. A cancellation stops the application."""
        try:
            message = await self._outgoing.get()
            self._room.release()
            return message
        except asyncio.CancelledError:
            self._task.cancel()
            raise

    async def close(self) -> None:
        """Stop the application if it is still running."""
        self._task.cancel()
        await asyncio.wait({self._task})

    async def _run(self, app: Application, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._incoming.get, self._send)
        except Exception:
            logger.exception("the application failed")
        finally:
            self._outgoing.put_nowait({"type": "ended"})

    async def _send(self, message: Mapping[str, Any]) -> None:
        await self._room.acquire()
        self._outgoing.put_nowait(message)


class _Body(httpx2.AsyncByteStream):
    def __init__(self, exchange: _Exchange, request: httpx2.Request) -> None:
        self._exchange = exchange
        self._request = request

    async def __aiter__(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._exchange.next()
            if message["type"] != "http.response.body":
                raise httpx2.RemoteProtocolError("The application ended before its answer did.", request=self._request)
            more = bool(message.get("more_body"))
            if message.get("body"):
                yield message["body"]

    async def aclose(self) -> None:
        await self._exchange.close()


def _scope(request: httpx2.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.split(b"?")[0],
        "query_string": request.url.query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
