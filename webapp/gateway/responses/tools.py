"""The tools that Patchbay runs for a response, for one user: its own, those of tool servers, and file search."""

from __future__ import annotations

import json
from collections.abc import Sequence
from uuid import UUID

from webapp.accounts.models import User
from webapp.patterns.agent.tools import Tool, ToolContext, ToolError, ToolResult
from webapp.patterns.responses.server_tools import ServerTools
from webapp.patterns.responses.tools import ListedTool
from webapp.patterns.types import Json
from webapp.ports import file_search, tool_servers
from webapp.ports.toolbox import toolbox

OWN_LABEL = "patchbay"
"""The label under which a request asks for the tools of the product itself."""


class UserTools(ServerTools):
    """The tools of one response.

    Args:
        user: who asked for it.
        request_id: the key of its attempts, which its calls of tools are recorded with.
    """

    def __init__(self, user: User, request_id: UUID | None) -> None:
        self._user = user
        self._request_id = request_id
        self._context = ToolContext(user_id=user.pk, request_id=request_id)
        self._servers: tool_servers.ToolServers | None = None

    async def list_tools(self, server: Json) -> Sequence[ListedTool]:
        """Return the tools of an MCP server, or the product's own."""
        if _is_own(server):
            return [_listed(tool) for tool in toolbox]
        return await self._opened().list_tools(server)

    async def call_tool(self, server: Json, name: str, arguments: Json) -> ToolResult:
        """Call a tool for the user."""
        if _is_own(server):
            return await toolbox.call(name, json.dumps(arguments), self._context)
        try:
            return await self._opened().call_tool(server, name, arguments)
        except ToolError as error:
            return ToolResult(error.message, "failed")

    def _opened(self) -> tool_servers.ToolServers:
        if self._servers is None:
            self._servers = tool_servers.for_response(self._user, self._request_id)
        return self._servers

    async def search_files(self, tool: Json, queries: Sequence[str]) -> Sequence[Json]:
        """Search the collections of a `file_search` tool."""
        return await file_search.registered().search(self._user, tool, queries)


def _is_own(server: Json) -> bool:
    return server.get("server_label") == OWN_LABEL and not server.get("server_url")


def _listed(tool: Tool) -> ListedTool:
    return ListedTool(
        tool.name,
        tool.description,
        tool.parameters,
        acts=tool.acts,
        read_only=tool.read_only,
        untrusted=tool.untrusted,
        external=tool.external,
    )
