"""Let responses use tool servers (MCP) without knowing the app that connects to them: it registers itself in `AppConfig.ready()`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol
from uuid import UUID

from webapp.accounts.models import User
from webapp.patterns.agent.tools import ToolError, ToolResult
from webapp.patterns.responses.tools import ListedTool
from webapp.patterns.types import Json


class ToolServers(Protocol):
    """The tool servers that a user may use in one response.

    `server` is the `mcp` entry of a request's `tools`: `server_label`, `server_url`, `headers`, `authorization` and so on. The label is the
    name of a registered server, whose stored headers are then used. Another `server_url` is called only where an administrator allows it.
    """

    async def list_tools(self, server: Json) -> Sequence[ListedTool]:
        """Return the tools of a server, with what an administrator set for each.

        Raises:
            ToolError: there is no such server for this user, or it does not answer in time.
        """

    async def call_tool(self, server: Json, name: str, arguments: Json) -> ToolResult:
        """Call a tool, bounded in time, size and number. Raises `ToolError` as `list_tools`."""


Open = Callable[[User, UUID | None], ToolServers]
"""(user, id of the request that the calls belong to) -> the tool servers for one response."""


class _Registered:
    open: Open | None = None


def register(open_servers: Open) -> None:
    """Call tool servers through what `open_servers` returns."""
    _Registered.open = open_servers


def for_response(user: User, request_id: UUID | None) -> ToolServers:
    """Return the tool servers for one response.

    Raises:
        ToolError: no app has registered any.
    """
    if _Registered.open is None:
        raise ToolError("There are no tool servers here.")
    return _Registered.open(user, request_id)
