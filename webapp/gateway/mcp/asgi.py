"""The ASGI application at `/mcp`: Patchbay as an MCP server over streamable HTTP, outside Django's middleware like `/v1`."""

from __future__ import annotations

import asyncio
import importlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING

from django.db import Error

from webapp.gateway.auth import Principal, authenticate
from webapp.gateway.http import Call
from webapp.gateway.usage import used
from webapp.ports.files_and_batches import ApiError
from webapp.server.asgi import Receive, Scope, Send, send_json
from webapp.server.origins import is_own_host, is_own_origin

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

ROOT = "/mcp"
ALLOWED = "POST, OPTIONS"
logger = logging.getLogger("patchbay.mcp")


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Check where a request comes from and who sends it, and hand it to the SDK."""
    call = Call(scope, receive, send)
    try:
        _check(call, scope)
        if call.method == "OPTIONS":
            await call.start(HTTPStatus.NO_CONTENT, {"allow": ALLOWED})
            await call.end()
            return
        principal = await _caller(call)
        manager = await _sessions.manager()
    except ApiError as error:
        await send_json(send, error.status, error.as_json(), [(name.encode(), value.encode()) for name, value in error.headers.items()])
        return
    except Error as error:
        logger.error("%s: the database is away: %s", call.id, error)  # noqa: TRY400 - each request says so
        body = ApiError(503, "The database does not answer: try again in a moment.", type="server_error").as_json()
        await send_json(send, HTTPStatus.SERVICE_UNAVAILABLE, body, [(b"retry-after", b"5")])
        return
    await manager.handle_request({**scope, "principal": principal}, receive, send)  # type: ignore[arg-type]  # starlette's events are mutable


def _check(call: Call, scope: Scope) -> None:
    """Refuse foreign names and foreign pages, as the MCP specification demands against DNS rebinding.

    Raises:
        ApiError: 404 for a path below `/mcp`, 403 for a foreign Origin, 421 for a foreign Host.
    """
    if scope["path"].rstrip("/") != ROOT:
        raise ApiError(HTTPStatus.NOT_FOUND, f"The MCP server is at {ROOT}.", code="unknown_url")
    if not is_own_host(scope):
        message = "This server does not answer to that name: add it to PATCHBAY_ALLOWED_HOSTS."
        raise ApiError(HTTPStatus.MISDIRECTED_REQUEST, message, code="unknown_host")
    if call.header("origin") and not is_own_origin(scope):
        message = "Pages of other sites may not call this server: see PATCHBAY_TRUSTED_ORIGINS."
        raise ApiError(HTTPStatus.FORBIDDEN, message, type="permission_error", code="foreign_origin")


async def _caller(call: Call) -> Principal:
    """Return the principal of the call's token.

    Raises:
        ApiError: 401 without a good token; 405 for other methods than POST: without sessions there is no stream to open and none to end.
    """
    principal = await authenticate(call)
    if call.method != "POST":
        raise ApiError(HTTPStatus.METHOD_NOT_ALLOWED, "Send messages with POST.", code="method_not_allowed", headers={"allow": ALLOWED})
    used(principal)
    return principal


class _Sessions:
    """Hold the SDK's session manager, started with the first request of an event loop.

    A task of its own enters and leaves the manager: its task group must be left by the task that entered it.
    """

    def __init__(self) -> None:
        self._host: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def manager(self) -> StreamableHTTPSessionManager:
        """Return the running manager."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop or self._host is None or self._host.done():
            self._loop, self._started = loop, loop.create_future()
            self._host = loop.create_task(self._run(self._started), name="mcp")
        return await asyncio.shield(self._started)

    async def _run(self, started: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        try:
            server = await asyncio.to_thread(importlib.import_module, "webapp.gateway.mcp.server")
            manager: StreamableHTTPSessionManager = server.session_manager()
            async with manager.run():
                started.set_result(manager)
                await asyncio.get_running_loop().create_future()  # until it is cancelled
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    async def aclose(self) -> None:
        """End the manager and what it still answers."""
        if self._host:
            self._host.cancel()
            await asyncio.gather(self._host, return_exceptions=True)
            self._host = None


_sessions = _Sessions()


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """End the MCP server with the process, as a background service."""
    try:
        yield
    finally:
        await _sessions.aclose()
