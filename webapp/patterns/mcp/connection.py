"""Hold one connection to a tool server, opened with the first call and usable from any task.

    connection = Connection(ServerSpec("weather", url="https://example.com/mcp"))
    tools = await connection.tools()
    result = await connection.call("forecast", {"city": "Oslo"})
    await connection.aclose()

The SDK's client must be entered and left by the same task, so each connection has a task of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from webapp.patterns.agent.interaction import Answer, Ask, Question, Report
from webapp.patterns.errors import PatternError
from webapp.patterns.mcp.types import CallResult, ServerInfo, ServerSpec, ToolInfo, ToolServerError
from webapp.patterns.redaction import redact
from webapp.patterns.types import Json

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mcp import Client

logger = logging.getLogger("patchbay.mcp")
T = TypeVar("T")
MAX_TOOLS = 500
MAX_SCHEMA_CHARS = 50_000
MAX_DESCRIPTION_CHARS = 4_000
MAX_MESSAGE_CHARS = 1_000
MODES = ("legacy", "auto")
"""The order of handshakes. `initialize` comes first: with it a server can ask the user in the middle of a call, and most servers know
nothing else. A server of the newest protocol alone refuses it, and is then asked with `server/discover`."""
CLOSING_SECONDS = 10.0
LISTENING_SECONDS = 1.0
KEPT_ERROR_LINES = 20


class Connection:
    """One connection. A broken one raises `ToolServerError` from each call; make a new one then.

    Args:
        spec: how to reach the server.
        on_tools_changed: called when the server says that its list of tools changed. It must return at once.
    """

    def __init__(self, spec: ServerSpec, on_tools_changed: Callable[[], None] | None = None) -> None:
        self.spec = spec
        self._on_tools_changed = on_tools_changed
        self.errors: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        """The last lines that a process wrote to its standard error."""
        self.faults: list[str] = []
        """Limits that the server broke."""
        self._client: Client | None = None
        self._owner: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()
        self._listening = asyncio.Event()
        self._opening = asyncio.Lock()
        self._askers: list[Ask] = []
        self.calls = 0
        """Calls that run now."""

    @property
    def broken(self) -> bool:
        """Return whether the connection was open and is not any more."""
        return self._owner is not None and self._owner.done()

    async def info(self) -> ServerInfo:
        """Return what the server says of itself."""
        client = await self._open()
        said = client.server_info
        return ServerInfo(
            name=(said.name if said else "")[:200],
            version=(said.version if said else "")[:100],
            protocol=client.protocol_version,
            instructions=(client.instructions or "")[:MAX_DESCRIPTION_CHARS],
        )

    async def tools(self) -> list[ToolInfo]:
        """Return the server's tools, at most `MAX_TOOLS`.

        Raises:
            ToolServerError: the server cannot be reached or does not answer in time.
        """
        client = await self._open()
        async with self._bounded(self.spec.connect_seconds, "list its tools"):
            return await self._guarded(_listed(client))

    async def call(self, name: str, arguments: Json, *, report: Report | None = None, ask: Ask | None = None) -> CallResult:
        """Call a tool. Cancelling the task cancels the call at the server.

        Args:
            report: called with the progress that the server reports.
            ask: called when the server asks the user something. The time limit stands still meanwhile.

        Raises:
            ToolServerError: the server refused, broke the protocol, or did not answer in time.
        """
        client = await self._open()
        self.calls += 1
        try:
            async with self._bounded(self.spec.call_seconds, f"finish {name}") as clock:
                asker = _paused(clock, ask) if ask else None
                if asker:
                    self._askers.append(asker)
                try:
                    return await self._guarded(self._called(client, name, arguments, report))
                finally:
                    if asker:
                        self._askers.remove(asker)
        finally:
            self.calls -= 1

    async def aclose(self) -> None:
        """Close the connection and end the process, if there is one."""
        self._closing.set()
        if self._owner and not self._owner.done():
            await asyncio.wait({self._owner}, timeout=CLOSING_SECONDS)
            self._owner.cancel()

    async def _called(self, client: Client, name: str, arguments: Json, report: Report | None) -> CallResult:
        from webapp.patterns.mcp.results import call_result

        async def on_progress(progress: float, total: float | None, message: str | None) -> None:
            if report:
                await report(progress, total, (message or "")[:MAX_MESSAGE_CHARS])

        result = await client.call_tool(name, arguments, progress_callback=on_progress if report else None)
        return call_result(result, self.spec.result_chars)

    async def _open(self) -> Client:
        async with self._opening:
            if self.broken:
                raise self._failure()
            if self._client is None:
                self._client = await self._connected()
            return self._client

    async def _connected(self) -> Client:
        """Connect, in the first mode that the server does not refuse."""
        await asyncio.to_thread(importlib.import_module, "mcp")  # 0.5 s the first time, which would hold up every stream
        from mcp import MCPError

        for mode in MODES:
            ready: asyncio.Future[Client] = asyncio.get_running_loop().create_future()
            self._owner = asyncio.create_task(self._run(mode, ready), name=f"mcp {self.spec.label}")
            waiting: set[asyncio.Future[Any]] = {ready, self._owner}
            await asyncio.wait(waiting, timeout=self.spec.connect_seconds, return_when=asyncio.FIRST_COMPLETED)
            if ready.done():
                await self._listened(mode)
                return ready.result()
            if not self._owner.done():
                self._owner.cancel()
                await asyncio.wait({self._owner}, timeout=CLOSING_SECONDS)
                raise ToolServerError(f"{self.spec.label} did not answer within {self.spec.connect_seconds:g} s.")
            error = self._owner.exception()
            if self.faults or not (error and isinstance(_innermost(error), MCPError)):
                break
        raise self._failure()

    async def _listened(self, mode: str) -> None:
        """Wait a moment for the server's stream of messages: many servers drop a question that they ask before it is open."""
        if self.spec.url and (mode == "legacy" or self._on_tools_changed):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), LISTENING_SECONDS)

    async def _run(self, mode: str, ready: asyncio.Future[Client]) -> None:
        """Own the SDK's client from its beginning to its end."""
        from mcp import Client
        from mcp_types import Implementation

        from webapp.patterns.mcp.transports import http_transport, process_transport

        transport: Any = (
            http_transport(self.spec, self.faults, self._listening) if self.spec.url else process_transport(self.spec, self.errors)
        )
        client = Client(
            transport,
            mode=mode,
            client_info=Implementation(name="patchbay", version="0.2.0"),
            elicitation_callback=self._elicited,
            message_handler=self._received,
            cache=None,
        )
        async with AsyncExitStack() as stack:
            opened = await stack.enter_async_context(client)
            if not ready.done():
                ready.set_result(opened)
            async with asyncio.TaskGroup() as group:
                following = group.create_task(self._follow_tools(opened, mode))
                await self._closing.wait()
                following.cancel()

    async def _follow_tools(self, client: Client, mode: str) -> None:
        """Follow the list of tools where the newest protocol was negotiated: there a client asks for these notifications."""
        if mode == "legacy" or self._on_tools_changed is None:
            return
        from mcp import MCPError
        from mcp.client.subscriptions import ListenNotSupportedError, SubscriptionLost

        try:
            async with client.listen(tools_list_changed=True) as events:
                self._listening.set()
                async for _ in events:
                    self._on_tools_changed()
        except (ListenNotSupportedError, SubscriptionLost, MCPError, TimeoutError) as error:
            logger.info("%s does not say when its tools change: %s", self.spec.label, error)
        finally:
            self._listening.set()

    async def _received(self, message: Any) -> None:
        """Take a message of the server that belongs to no call."""
        from mcp_types import ToolListChangedNotification

        if self._on_tools_changed is not None and isinstance(message, ToolListChangedNotification):
            self._on_tools_changed()

    async def _elicited(self, context: Any, params: Any) -> Any:  # noqa: ARG002 - the SDK's signature
        """Pass a server's question to the newest running call that can ask the user."""
        from mcp_types import ElicitResult

        if not self._askers:
            return ElicitResult(action="decline")
        message = str(params.message)[:MAX_MESSAGE_CHARS]
        url = str(getattr(params, "url", "") or "")
        schema = {} if url else _plain(params.requested_schema)
        answer = await self._askers[-1](Question(message, schema, url))
        return ElicitResult(action=answer.action, content=answer.content if answer.action == "accept" and not url else None)

    async def _guarded(self, work: Awaitable[T]) -> T:
        """Await work of the SDK; it ends when the connection does, and fails with a sentence."""
        from mcp import MCPError
        from mcp_types import CONNECTION_CLOSED

        task = asyncio.ensure_future(work)
        assert self._owner is not None
        try:
            await asyncio.wait({task, self._owner}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not task.done():
                task.cancel()
                await asyncio.wait({task}, timeout=1)
        if not task.done() or task.cancelled():
            raise self._failure()
        try:
            return task.result()
        except PatternError:
            raise
        except MCPError as error:
            if self._owner.done() or error.code == CONNECTION_CLOSED:
                await self.aclose()  # the SDK's client does not end by itself when its connection does
                raise self._failure() from error
            raise ToolServerError(f"{self.spec.label} refused: {_safe(str(error))}") from error
        except Exception as error:
            raise ToolServerError(f"{self.spec.label} broke the protocol: {type(error).__name__}: {_safe(str(error))}") from error

    @asynccontextmanager
    async def _bounded(self, seconds: float, deed: str) -> AsyncGenerator[asyncio.Timeout]:
        try:
            async with asyncio.timeout(seconds) as clock:
                yield clock
        except TimeoutError as error:
            raise ToolServerError(f"{self.spec.label} did not {deed} within {seconds:g} s.") from error

    def _failure(self) -> ToolServerError:
        """Return why the connection ended, in words."""
        assert self._owner is not None
        error = self._owner.exception() if self._owner.done() and not self._owner.cancelled() else None
        cause = _innermost(error) if error else None
        if isinstance(cause, PatternError):
            return ToolServerError(f"{self.spec.label}: {cause.message}")
        said = f" Its last words: {_safe(' / '.join(list(self.errors)[-3:]))}" if self.errors else ""
        if self.faults:
            return ToolServerError(f"{self.spec.label}: {self.faults[-1]}")
        reason = f" ({type(cause).__name__}: {_safe(str(cause))})" if cause else ""
        return ToolServerError(f"{self.spec.label} ended the connection{reason}.{said}")


def _paused(clock: asyncio.Timeout, ask: Ask) -> Ask:
    """Return `ask` with the call's clock stopped while the user thinks."""

    async def asked(question: Question) -> Answer:
        loop, until = asyncio.get_running_loop(), clock.when()
        left = until - loop.time() if until is not None else None
        clock.reschedule(None)
        try:
            return await ask(question)
        finally:
            if left is not None and not clock.expired():
                clock.reschedule(loop.time() + max(left, 0))

    return asked


async def _listed(client: Client) -> list[ToolInfo]:
    """Read all pages of the list."""
    found: list[ToolInfo] = []
    cursor: str | None = None
    for _ in range(MAX_TOOLS):
        page = await client.list_tools(cursor=cursor)
        found += [_tool(tool) for tool in page.tools]
        cursor = page.next_cursor
        if not cursor or len(found) >= MAX_TOOLS:
            break
    return found[:MAX_TOOLS]


def _tool(tool: Any) -> ToolInfo:
    hints = tool.annotations
    return ToolInfo(
        name=tool.name[:200],
        title=(tool.title or (hints.title if hints else None) or "")[:200],
        description=(tool.description or "")[:MAX_DESCRIPTION_CHARS],
        schema=_schema(tool.input_schema),
        read_only=bool(hints and hints.read_only_hint),
        destructive=not (hints and (hints.read_only_hint or hints.destructive_hint is False)),
    )


def _schema(schema: Any) -> Json:
    """Return an input schema that a model may be given: an object's, and not longer than `MAX_SCHEMA_CHARS`."""
    if not isinstance(schema, dict) or schema.get("type") != "object" or len(json.dumps(schema)) > MAX_SCHEMA_CHARS:
        return {"type": "object", "properties": {}, "additionalProperties": True}
    return {"properties": {}, **schema}


def _plain(schema: Any) -> Json:
    plain: Json = schema if isinstance(schema, dict) else schema.model_dump(by_alias=True, mode="json", exclude_none=True)
    return plain


def _innermost(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup) and error.exceptions:
        error = error.exceptions[0]
    return error


def _safe(text: str) -> str:
    return redact(" ".join(text.split())[:MAX_MESSAGE_CHARS])
