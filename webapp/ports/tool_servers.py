"""Let responses use tool servers (MCP) without knowing the app that connects to them: it registers itself in `AppConfig.ready()`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from webapp.accounts.models import User
from webapp.patterns.agent.tools import ToolError, ToolResult
from webapp.patterns.responses.tools import ListedTool
from webapp.patterns.types import Json


class ToolServers(Protocol):
    """The tool servers that a user may use.

    `server` is the `mcp` entry of a request's `tools`: `server_label`, `server_url`, `headers`, `authorization` and so on. The label is the
    name of a registered server, whose stored headers are then used. Another `server_url` is called only where an administrator allows it.
    """

    async def list_tools(self, user: User, server: Json) -> Sequence[ListedTool]:
        """Return the tools of a server, with what an administrator set for each.

        Raises:
            ToolError: there is no such server for this user, or it does not answer in time.
        """

    async def call_tool(self, user: User, server: Json, name: str, arguments: Json) -> ToolResult:
        """Call a tool, bounded in time and size. Raises `ToolError` as `list_tools`."""


class _Registered:
    servers: ToolServers | None = None


def register(servers: ToolServers) -> None:
    """Call tool servers through `servers`."""
    _Registered.servers = servers


def registered() -> ToolServers:
    """Return the registered tool servers.

    Raises:
        ToolError: no app has registered any.
    """
    if _Registered.servers is None:
        raise ToolError("There are no tool servers here.")
    return _Registered.servers
