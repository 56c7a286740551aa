"""Carry MCP messages with limits: HTTP through the package's own transport, and a child process over its standard streams.

A server that sends more than a limit loses its connection, so that no answer of a server can fill the memory of this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import anyio
import httpx2

from webapp.patterns.http.addresses import check_url
from webapp.patterns.http.transport import make_transport
from webapp.patterns.mcp.types import ServerSpec, ToolServerError

if TYPE_CHECKING:
    from mcp.client._transport import TransportStreams

logger = logging.getLogger("patchbay.mcp")
MAX_RESPONSE_BYTES = 16 * 1024 * 1024
"""Bytes of one HTTP response, or of a process between two messages to it."""
MAX_LINE_BYTES = 4 * 1024 * 1024
"""Bytes of one message of a process."""
MAX_ERROR_CHARS = 500
STOP_SECONDS = 2.0
INHERITED = ("HOME", "LANG", "LC_ALL", "LOGNAME", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER")
"""Variables that a command inherits. It gets no others: Patchbay's own hold secrets."""


class TooMuchOutput(ToolServerError):
    """A server sent more than `MAX_RESPONSE_BYTES`, or a message longer than `MAX_LINE_BYTES`."""


@asynccontextmanager
async def http_transport(spec: ServerSpec, faults: list[str], listening: asyncio.Event) -> AsyncGenerator[TransportStreams]:
    """Connect over streamable HTTP. A limit that the server breaks is put into `faults`.

    `listening` is set once the server answered the request for its stream of messages, in whichever way.

    Names are resolved and checked as for backends, or as for webhooks where the server must be public.
    """
    from mcp.client.streamable_http import streamable_http_client

    check_url(spec.url, public=spec.public)
    timeout = httpx2.Timeout(spec.connect_seconds, read=None)
    transport = _Bounded(make_transport(spec.url, public=spec.public), faults, listening)
    headers = {**spec.headers, "accept-encoding": "identity"}
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=timeout, auth=spec.authorization, trust_env=False) as client,
        streamable_http_client(spec.url, http_client=client, max_sse_event_size=MAX_RESPONSE_BYTES) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncBaseTransport):
    """Cut responses that are longer than `MAX_RESPONSE_BYTES`. Compressed ones are refused, since their true size is unknown."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, faults: list[str], listening: asyncio.Event) -> None:
        self._inner = inner
        self._faults = faults
        self._listening = listening

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if request.method == "GET":
            self._listening.set()
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            self._faults.append("It wants a sign-in or another token (401).")
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.RemoteProtocolError("The server compressed its answer though it was asked not to.")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        limit = None if request.method == "GET" else MAX_RESPONSE_BYTES  # a GET stream carries notifications for hours
        response.stream = _Counted(response.stream, limit, self._faults)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Counted(httpx2.AsyncByteStream):
    """A body that ends with an error once it is longer than `limit`."""

    def __init__(self, inner: httpx2.AsyncByteStream, limit: int | None, faults: list[str]) -> None:
        self._inner = inner
        self._limit = limit
        self._faults = faults

    async def __aiter__(self) -> AsyncIterator[bytes]:
        received = 0
        async for data in self._inner:
            received += len(data)
            if self._limit is not None and received > self._limit:
                self._faults.append(f"It sent more than {self._limit // 2**20} MB in one answer.")
                raise TooMuchOutput(self._faults[-1])
            yield data

    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def process_transport(spec: ServerSpec, errors: deque[str]) -> AsyncGenerator[TransportStreams]:
    """Start the command and talk to it over its standard streams. Its last lines on standard error are put into `errors`.

    Raises:
        ToolServerError: the command cannot be started.
    """
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ} | dict(spec.environment)
    try:
        process = await asyncio.create_subprocess_exec(
            *spec.command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env=environment, limit=MAX_LINE_BYTES, start_new_session=True
        )
    except (OSError, ValueError) as error:
        raise ToolServerError(f"{spec.command[0]} cannot be started: {error}") from error
    incoming_writer, incoming = anyio.create_memory_object_stream[Any](0)
    outgoing, outgoing_reader = anyio.create_memory_object_stream[Any](0)
    pipes = _Pipes(process, errors)
    try:
        async with incoming_writer, incoming, outgoing, outgoing_reader, anyio.create_task_group() as group:
            group.start_soon(pipes.read_errors)
            group.start_soon(pipes.read, incoming_writer)
            group.start_soon(pipes.write, outgoing_reader)
            try:
                yield incoming, outgoing
            finally:
                group.cancel_scope.cancel()
    finally:
        await asyncio.shield(_stop(process))


class _Pipes:
    """The standard streams of one process."""

    def __init__(self, process: Process, errors: deque[str]) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self._stdin, self._stdout, self._stderr = process.stdin, process.stdout, process.stderr
        self._errors = errors
        self._received = 0

    async def read(self, messages: Any) -> None:
        """Pass on messages, one a line, until the process closes its output."""
        from mcp.shared.message import SessionMessage
        from mcp_types import jsonrpc_message_adapter

        async with messages:
            while line := await self._line():
                try:
                    message: Any = SessionMessage(jsonrpc_message_adapter.validate_json(line, by_name=False))
                except ValueError as error:  # servers print stray lines to standard output; the session ignores them
                    message = error
                await messages.send(message)

    async def _line(self) -> bytes:
        try:
            line = await self._stdout.readline()
        except ValueError as error:
            raise TooMuchOutput(f"It sent a message longer than {MAX_LINE_BYTES // 2**20} MB.") from error
        self._received += len(line)
        if self._received > MAX_RESPONSE_BYTES:
            raise TooMuchOutput(f"It sent more than {MAX_RESPONSE_BYTES // 2**20} MB in one answer.")
        return line

    async def write(self, messages: Any) -> None:
        """Send messages, one a line."""
        async with messages:
            async for message in messages:
                self._received = 0
                self._stdin.write(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n")
                with contextlib.suppress(ConnectionError):  # the process ended: its closed output says so to the session
                    await self._stdin.drain()

    async def read_errors(self) -> None:
        """Keep the last lines of standard error, so that a page can show why a server failed."""
        while data := await self._stderr.read(65_536):
            for line in data.decode(errors="replace").splitlines():
                self._errors.append(line[:MAX_ERROR_CHARS])


async def _stop(process: Process) -> None:
    """Close the process's input, then end its whole group."""
    if process.stdin:
        process.stdin.close()
    for number in (None, signal.SIGTERM, signal.SIGKILL):
        if number is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        try:
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        except TimeoutError:
            continue
        break
    with contextlib.suppress(ProcessLookupError):  # children that outlived their parent
        os.killpg(process.pid, signal.SIGKILL)
    process._transport.close()  # type: ignore[attr-defined]  # noqa: SLF001 - asyncio closes the pipes of a process only at their end
