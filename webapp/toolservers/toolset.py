"""The tools of tool servers as tools of a conversation: named, bounded, asked for where they must be, and recorded."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.utils.translation import gettext as _

from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.agent.schema_tool import SchemaTool
from webapp.patterns.agent.tools import ToolContext, ToolError, ToolResult
from webapp.patterns.mcp.types import CallResult, ToolInfo, ToolServerError
from webapp.patterns.types import Json
from webapp.ports.toolbox import Offer
from webapp.toolservers import oauth, selectors, services
from webapp.toolservers.connections import Session, sessions
from webapp.toolservers.models import ServerTool, ToolServer
from webapp.toolservers.selectors import NamedTool

MAX_SECONDS = 3600.0
"""The registry's own limit for a call. The server's limit is kept by the connection, whose clock stops while the user is asked."""


def offers(user: User, route: str) -> list[Offer]:
    """Return the tools of the servers that a user may use with a route or model, as the port of the toolbox asks for them."""
    calls = RemoteCalls(user.pk, "chat")
    return [
        Offer(
            as_tool(named, calls),
            group=named.server.name,
            on_by_default=named.server.on_by_default and not named.server.sign_in_needed,
            note=_("It changed after it was allowed.") if named.tool.changed_at else "",
        )
        for named in selectors.named_tools(selectors.usable(user, route))
    ]


def as_tool(named: NamedTool, calls: RemoteCalls) -> SchemaTool:
    """Return a tool for the tool loop."""

    async def run(arguments: Json, context: ToolContext) -> Any:
        result = await calls.call(named, arguments, context)
        return ToolResult(result.text, images=result.images)

    return SchemaTool(
        name=named.name,
        description=named.tool.description or named.tool.title,
        schema=named.tool.schema,
        run=run,
        timeout=MAX_SECONDS,
        acts=named.tool.effective_approval == ServerTool.Approval.ASK,
        read_only=named.tool.read_only,
    )


class RemoteCalls:
    """The calls of one answer: they count against each server's limit of calls, and are recorded as the user's.

    Args:
        source: "chat" or "responses".
    """

    def __init__(self, user_id: int | None, source: str) -> None:
        self._user_id = user_id
        self._source = source
        self._counts: Counter[int] = Counter()

    async def call(self, named: NamedTool, arguments: Json, context: ToolContext) -> CallResult:
        """Call a tool and record it.

        Raises:
            ToolError: the tool says that it failed, or may not be called now.
            ToolServerError: its server could not be used.
        """
        server, started, problem, result = named.server, time.monotonic(), "", None
        try:
            self._count(server)
            result = await self._called(named, arguments, context)
            problem = result.text if result.is_error else ""
        except (ToolServerError, ToolError) as error:
            problem = error.message
            raise
        except asyncio.CancelledError:
            problem = "It was stopped."
            raise
        finally:
            await asyncio.shield(self._record(named, context, started, result, problem))
        if result.is_error:
            raise ToolError(result.text)
        return result

    def _count(self, server: ToolServer) -> None:
        self._counts[server.pk] += 1
        if self._counts[server.pk] > server.max_calls:
            raise ToolError(f"{server.name} may be called {server.max_calls} times in one answer. Answer with what you have.")

    async def _called(self, named: NamedTool, arguments: Json, context: ToolContext) -> CallResult:
        session = await opened(named.server, context.conversation_id or f"user {self._user_id}")
        await _check_unchanged(named, session)
        return await session.connection.call(named.tool.name, arguments, report=context.report, ask=context.ask)

    async def _record(self, named: NamedTool, context: ToolContext, started: float, result: CallResult | None, problem: str) -> None:
        await in_database(
            services.record_call,
            server_id=named.server.pk,
            user_id=self._user_id,
            tool=named.tool.name,
            source=self._source,
            conversation=context.conversation_id or "",
            request_id=context.request_id,
            ms=(time.monotonic() - started) * 1000,
            chars=len(result.text) if result else 0,
            error=problem,
        )


async def opened(server: ToolServer, key: str) -> Session:
    """Return an open connection; the server's page shows why there is none.

    Raises:
        ToolServerError: the server cannot be reached.
    """
    try:
        spec = await in_database(oauth.spec_with_sign_in, server)
        return await sessions.get(server.pk, spec, key)
    except ToolServerError as error:
        await in_database(services.store_failure, server=server, error=error.message, sign_in_needed=oauth.is_sign_in(error))
        raise


async def refresh(server: ToolServer) -> Sequence[ToolInfo]:
    """List a server's tools anew over a fresh connection, and keep them.

    Raises:
        ToolServerError: the server cannot be reached.
    """
    key = f"refresh {time.monotonic_ns()}"
    try:
        session = await opened(server, key)
        info = await session.connection.info()
        tools = list(session.tools.values())
        await in_database(services.store_tools, server=server, info=info, tools=tools)
    finally:
        await sessions.close(server.pk, key)
    return tools


async def _check_unchanged(named: NamedTool, session: Session) -> None:
    """Refuse a tool whose definition is not the one that the user and the model were shown.

    Raises:
        ToolError: it changed. The new definition is kept, and asks for approval.
    """
    now, shown = session.tools.get(named.tool.name), named.tool
    if now and (now.description, now.schema, now.read_only) == (shown.description, shown.schema, shown.read_only):
        return
    info = await session.connection.info()
    await in_database(services.store_tools, server=named.server, info=info, tools=list(session.tools.values()))
    if now is None:
        raise ToolError(f"{named.server.name} does not offer {named.tool.name} any more. Answer without it.")
    raise ToolError(
        f"{named.server.name} changed what {named.tool.name} is, so it was not run. Its new definition applies from the next question on."
    )
