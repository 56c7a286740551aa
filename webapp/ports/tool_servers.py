"""Let responses use tool servers (MCP) without knowing the app that connects to them: it registers itself in `AppConfig.ready()`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from webapp.accounts.models import User
from webapp.patterns.agent.tools import ToolError, ToolResult
from webapp.patterns.types import Json


class ToolServers(Protocol):
    """Tool servers that an administrator registered.

    `server` is the `mcp` entry of a request's `tools`: `server_label`, `server_url`, `headers`, `authorization` and so on. Only registered
    servers are called: the label must be the name of one that the user may use, and a `server_url` must be that server's.
    """

    async def list_tools(self, user: User, server: Json) -> Sequence[Json]:
        """Return the tools of a server: `{"name", "description", "input_schema"}` each.

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
