"""Tool servers for `/v1/responses`: registered ones by their label, others by address where an administrator allows it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError

from webapp.accounts.models import User
from webapp.core.database import in_database
from webapp.patterns.agent.tools import ToolContext, ToolError, ToolResult
from webapp.patterns.mcp.types import ServerSpec, ToolServerError
from webapp.patterns.responses.tools import ListedTool
from webapp.patterns.types import Json
from webapp.toolservers import selectors, services, toolset
from webapp.toolservers.connections import Session, sessions
from webapp.toolservers.models import ServerTool, ToolServer
from webapp.toolservers.selectors import NamedTool

UNREGISTERED = 0
"""The id under which connections to servers by address are kept."""


class ResponsesTools:
    """List and call the tools of the `mcp` entries of one response. The implementation of `webapp.ports.tool_servers`.

    Args:
        user: who asked for the response.
        request_id: of the request that the calls belong to.
    """

    def __init__(self, user: User, request_id: UUID | None) -> None:
        self._user = user
        self._calls = toolset.RemoteCalls(user.pk, "responses")
        self._context = ToolContext(user_id=user.pk, conversation_id=f"responses {user.pk}", request_id=request_id)

    async def list_tools(self, server: Json) -> Sequence[ListedTool]:
        """Return the tools, with what an administrator set for each. The caller alone decides about a server that it names by address.

        Raises:
            ToolError: there is no such server, or it does not answer.
        """
        try:
            registered = await in_database(_registered, self._user, server)
            if registered is None:
                tools = (await _by_address(self._user, server)).tools.values()
                return [ListedTool(tool.name, tool.description, tool.schema, read_only=tool.read_only) for tool in tools]
            if not registered.answered_at:
                await toolset.refresh(registered)
            return await in_database(_known_tools, registered)
        except ToolServerError as error:
            raise ToolError(error.message) from error

    async def call_tool(self, server: Json, name: str, arguments: Json) -> ToolResult:
        """Call a tool. What it did wrong is in the result.

        Raises:
            ToolError: there is no such server or tool.
        """
        registered = await in_database(_registered, self._user, server)
        try:
            if registered is None:
                session = await _by_address(self._user, server)
                result = await session.connection.call(name, arguments)
                return ToolResult(result.text, "failed" if result.is_error else "")
            named = await in_database(_named, registered, name)
            return ToolResult((await self._calls.call(named, arguments, self._context)).text)
        except (ToolServerError, ToolError) as error:
            return ToolResult(error.message, "failed")


def _registered(user: User, entry: Json) -> ToolServer | None:
    """Return the registered server that an entry means; None where it names another one by its address.

    Raises:
        ToolError: it names no address, and there is no server of that label.
    """
    label, url = str(entry.get("server_label") or ""), str(entry.get("server_url") or "")
    server = selectors.by_label(user, label)
    if server and (not url or url.rstrip("/") == server.url.rstrip("/")):
        return server
    if not url:
        raise ToolError(f"There is no tool server named {label[:100]!r}.")
    return None


async def _by_address(user: User, entry: Json) -> Session:
    """Return a connection to the server that an entry names by its address.

    Raises:
        ToolError: the administrator has not allowed its host.
        ToolServerError: it cannot be reached.
    """
    url = str(entry["server_url"])
    if not services.allowed_host(url):
        raise ToolError("An administrator has not allowed tool servers at this host (PATCHBAY_TOOL_SERVER_HOSTS).")
    try:
        headers = services.checked_headers(_headers(entry))
    except ValidationError as error:
        raise ToolError(" ".join(error.messages)) from error
    spec = ServerSpec(label=str(entry.get("server_label") or "server"), url=url, headers=headers, public=not settings.PRIVATE_WEBHOOKS)
    digest = hashlib.sha256(json.dumps([url, headers], sort_keys=True).encode()).hexdigest()
    return await sessions.get(UNREGISTERED, spec, f"{user.pk} {digest}")


def _headers(entry: Json) -> dict[str, str]:
    given = entry.get("headers")
    headers = {str(name): str(value) for name, value in given.items()} if isinstance(given, Mapping) else {}
    if entry.get("authorization"):
        headers["Authorization"] = f"Bearer {entry['authorization']}"
    return headers


def _known_tools(server: ToolServer) -> list[ListedTool]:
    tools = ServerTool.objects.filter(server=server).exclude(approval=ServerTool.Approval.NEVER)
    return [
        ListedTool(
            tool.name,
            tool.description,
            tool.schema,
            acts=tool.effective_approval == ServerTool.Approval.ASK,
            read_only=tool.read_only,
        )
        for tool in tools
    ]


def _named(server: ToolServer, name: str) -> NamedTool:
    tool = ServerTool.objects.filter(server=server, name=name).exclude(approval=ServerTool.Approval.NEVER).first()
    if tool is None:
        raise ToolError(f"{server.name} has no tool named {name[:100]!r}.")
    return NamedTool(name, server, tool)
