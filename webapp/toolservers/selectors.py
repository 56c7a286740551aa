"""Reads. A tool server of another user does not exist."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db.models import Avg, Count, Q, QuerySet
from django.utils import timezone

from webapp.accounts.models import User
from webapp.backends.config.crypto import KeyLost, Secret
from webapp.patterns import sanitize
from webapp.patterns.mcp.names import tool_name
from webapp.patterns.mcp.types import ServerSpec, ToolServerError
from webapp.toolservers.models import ServerCall, ServerTool, ToolServer

SHOWN_CALLS = 50


def servers(user: User) -> QuerySet[ToolServer]:
    """Return the shared servers and the user's own."""
    return ToolServer.objects.filter(Q(owner=None) | Q(owner=user)).select_related("owner")


def changeable(user: User) -> QuerySet[ToolServer]:
    """Return the servers that the user may change: administrators the shared ones, everybody their own."""
    shared = Q(owner=None) if user.has_perm("toolservers.change_toolserver") else Q(pk__in=[])
    return ToolServer.objects.filter(shared | Q(owner=user))


def usable(user: User, route: str) -> list[ToolServer]:
    """Return the enabled servers that the user may use with a route or model, with their tools."""
    if not ToolServer.objects.filter(enabled=True).exists():  # most installations have none, and every question of a chat asks
        return []
    found = servers(user).filter(enabled=True).filter(Q(routes=None) | Q(routes__name=sanitize.text(route))).distinct()
    return list(found.prefetch_related("tools"))


def by_label(user: User, label: str) -> ToolServer | None:
    """Return the enabled server of that name; the user's own wins over a shared one."""
    found = servers(user).filter(enabled=True, name=label).prefetch_related("tools")
    return max(found, key=lambda server: server.owner_id is not None, default=None)


def spec_of(server: ToolServer) -> ServerSpec:
    """Return how to reach a server.

    Raises:
        ToolServerError: its secrets cannot be decrypted.
    """
    return ServerSpec(
        label=server.name,
        url=server.url,
        command=tuple(server.command),
        headers=opened_secret(server, server.headers),
        environment=opened_secret(server, server.environment),
        public=server.owner_id is not None and not settings.PRIVATE_WEBHOOKS,
        call_seconds=server.call_seconds,
        result_chars=server.result_chars,
    )


def opened_secret(server: ToolServer, secret: Secret) -> dict[str, Any]:
    """Return a server's headers, variables or sign-in.

    Raises:
        ToolServerError: they cannot be decrypted.
    """
    try:
        opened: dict[str, Any] = json.loads(secret.reveal() or "{}")
    except KeyLost as error:
        raise ToolServerError(f"{server.name}: {error}") from error
    return opened


@dataclass(frozen=True, slots=True)
class NamedTool:
    """A tool and the name that models know it by."""

    name: str
    server: ToolServer
    tool: ServerTool


def named_tools(found: Sequence[ToolServer]) -> list[NamedTool]:
    """Return the tools of servers that may be called at all, named so that no two collide."""
    result: dict[str, NamedTool] = {}
    for server in found:
        for tool in server.tools.all():
            if tool.effective_approval != ServerTool.Approval.NEVER:
                name = tool_name(server.name, tool.name, result)
                result[name] = NamedTool(name, server, tool)
    return list(result.values())


def recent_calls(server: ToolServer, viewer: User) -> list[ServerCall]:
    """Return the newest calls that a person may see: staff all, others their own."""
    calls = server.calls.select_related("user")
    return list((calls if viewer.is_staff else calls.filter(user=viewer))[:SHOWN_CALLS])


def call_sums(found: Sequence[ToolServer]) -> dict[int, dict[str, Any]]:
    """Return for each server the number of calls, of failed ones, and the mean time of the last day."""
    since = timezone.now() - timedelta(days=1)
    rows = ServerCall.objects.filter(server__in=found, created_at__gte=since).order_by().values("server")
    sums = rows.annotate(calls=Count("id"), failed=Count("id", filter=~Q(error="")), mean=Avg("ms"))
    return {row["server"]: dict(row) for row in sums}
