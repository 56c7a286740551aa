"""Writes: tool servers, their tools, the calls."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from webapp.accounts.models import User
from webapp.backends.config.addresses import HEADER_NAME
from webapp.backends.config.crypto import KeyLost, Secret
from webapp.backends.models import Route
from webapp.patterns.errors import InputError
from webapp.patterns.http.addresses import check_url
from webapp.patterns.mcp.types import ServerInfo, ToolInfo
from webapp.patterns.sanitize import clean
from webapp.toolservers.models import OAuthFlow, ServerCall, ServerTool, ToolServer

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,59}\Z")
RESERVED_HEADERS = frozenset({"host", "content-length", "transfer-encoding", "connection", "content-type", "accept", "accept-encoding"})
KEPT_CALLS = timedelta(days=30)
FLOW_SECONDS = 600


@transaction.atomic
def add_server(
    *,
    name: str,
    owner: User | None = None,
    url: str = "",
    command: Sequence[str] = (),
    headers: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
    oauth_client: Mapping[str, str] | None = None,
) -> ToolServer:
    """Create the tool server of that name, or change it. What is None stays, save that secrets are forgotten when the address changes.

    Args:
        oauth_client: `client_id` and `client_secret` of a client that was registered at the authorization server by hand. An empty id
            forgets it; an empty secret keeps the stored one of that id.

    Raises:
        ValidationError: the name, address, command or a header cannot be used.
    """
    if not NAME.match(name):
        raise ValidationError(
            _("A name has letters, digits, spaces, dots, dashes and underscores: at most 60, the first a letter or digit.")
        )
    if bool(url) == bool(command):
        raise ValidationError(_("Give either an address or a command."))
    if command and owner is not None:
        raise ValidationError(_("Only administrators add servers that run a command."))
    if url:
        _check_address(url, owner)
    server = ToolServer.objects.select_for_update().filter(name=name, owner=owner).first() or ToolServer(name=name, owner=owner)
    if server.pk and (_origin(server.url) != _origin(url) or server.command != list(command)):
        server.headers = server.environment = server.oauth = Secret()  # they were given to another server
        server.tools.all().delete()
    server.url, server.command = url, list(command)
    if headers is not None:
        server.headers = Secret.of(json.dumps(checked_headers(headers)))
    if environment is not None:
        server.environment = Secret.of(json.dumps(dict(environment)))
    if oauth_client is not None:
        _set_oauth_client(server, oauth_client)
    server.save()
    return server


def _set_oauth_client(server: ToolServer, given: Mapping[str, str]) -> None:
    """Keep a client that was registered by hand. Tokens of another client are forgotten."""
    known = stored_oauth(server).get("given") or {}
    client = {"client_id": given.get("client_id", ""), "client_secret": given.get("client_secret", "")}
    if client["client_id"] == known.get("client_id", "") and (not client["client_secret"] or client == known):
        return
    server.oauth = Secret.of(json.dumps({"given": client})) if client["client_id"] else Secret()


def stored_oauth(server: ToolServer) -> dict[str, Any]:
    """Return what is stored for signing in: `given` (a client that was registered by hand), `client`, `tokens` and so on."""
    try:
        kept: dict[str, Any] = json.loads(server.oauth.reveal() or "{}")
    except KeyLost:
        return {}
    return kept


def allowed_host(url: str) -> bool:
    """Return whether users may name a server at this address themselves (`PATCHBAY_TOOL_SERVER_HOSTS`)."""
    host = (urlsplit(url).hostname or "").lower()
    return "*" in settings.TOOL_SERVER_HOSTS or host in settings.TOOL_SERVER_HOSTS


def _check_address(url: str, owner: User | None) -> None:
    try:
        check_url(url, public=owner is not None and not settings.PRIVATE_WEBHOOKS)
    except InputError as error:
        raise ValidationError(error.message) from error
    parts = urlsplit(url)
    if parts.username or parts.password or parts.fragment or re.search(r"[\s\x00-\x1f]", url):
        raise ValidationError(_("Leave user, password, fragment and spaces out of the address: secrets go into headers."))
    if owner is not None and not allowed_host(url):
        raise ValidationError(_("An administrator has not allowed tool servers at this host (PATCHBAY_TOOL_SERVER_HOSTS)."))


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers, or raise `ValidationError` for one that cannot be sent."""
    for name, value in headers.items():
        if not HEADER_NAME.match(name) or name.lower() in RESERVED_HEADERS:
            raise ValidationError(_("%(name)r cannot be set as a header.") % {"name": name})
        if not value.isascii() or not value.isprintable():
            raise ValidationError(_("The value of %(name)s must be one line of plain text.") % {"name": name})
    return dict(headers)


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


@transaction.atomic
def store_tools(*, server: ToolServer, info: ServerInfo, tools: Sequence[ToolInfo]) -> list[str]:
    """Keep what a server listed; return the names of tools whose definition changed.

    A changed tool is not the one that was allowed: it asks again before each call.
    """
    if not ToolServer.objects.filter(pk=server.pk).exists():  # it was deleted meanwhile
        return []
    known = {tool.name: tool for tool in ServerTool.objects.select_for_update().filter(server=server)}
    changed: list[str] = []
    for listed in tools:
        fields = {
            "title": clean(listed.title),
            "description": clean(listed.description),
            "schema": clean(listed.schema),
            "read_only": listed.read_only,
            "destructive": listed.destructive,
        }
        tool = known.pop(clean(listed.name), None)
        if tool is None:
            ServerTool.objects.update_or_create(server=server, name=clean(listed.name), defaults=fields)
        elif any(getattr(tool, name) != value for name, value in fields.items()):
            changed.append(tool.name)
            approval = tool.approval if tool.approval == ServerTool.Approval.NEVER else ServerTool.Approval.ASK
            ServerTool.objects.filter(pk=tool.pk).update(**fields, approval=approval, changed_at=timezone.now())
    ServerTool.objects.filter(pk__in=[tool.pk for tool in known.values()]).delete()
    now = timezone.now()
    software = clean(f"{info.name} {info.version}".strip())
    ToolServer.objects.filter(pk=server.pk).update(
        checked_at=now, answered_at=now, error="", sign_in_needed=False, protocol=info.protocol[:20], software=software
    )
    return changed


def store_failure(*, server: ToolServer, error: str, sign_in_needed: bool = False) -> None:
    """Keep why a server could not be used."""
    ToolServer.objects.filter(pk=server.pk).update(checked_at=timezone.now(), error=clean(error)[:1000], sign_in_needed=sign_in_needed)


@transaction.atomic
def set_limits(*, server: ToolServer, routes: Iterable[Route] | None, **limits: Any) -> None:
    """Set when a server is on offer and what bounds its calls. `routes` of None stay as they are."""
    ToolServer.objects.filter(pk=server.pk).update(**limits)
    if routes is not None:
        server.routes.set(routes)


def set_approvals(*, server: ToolServer, approvals: Mapping[str, str]) -> None:
    """Set what the tools of these names need before a call."""
    for tool in ServerTool.objects.filter(server=server, name__in=approvals):
        if approvals[tool.name] in ServerTool.Approval.values and approvals[tool.name] != tool.approval:
            ServerTool.objects.filter(pk=tool.pk).update(approval=approvals[tool.name], changed_at=None)


def record_call(
    *,
    server_id: int,
    user_id: int | None,
    tool: str,
    source: str,
    conversation: str,
    request_id: UUID | None = None,
    ms: float,
    chars: int,
    error: str,
) -> None:
    """Keep a call and its time; forget what is too old. The server shows the last error of a call."""
    if not ToolServer.objects.filter(pk=server_id).exists():  # it was deleted while the call ran
        return
    ServerCall.objects.create(
        server_id=server_id, user_id=user_id, tool=tool[:200], source=source, conversation=conversation[:64],
        request_id=request_id, ms=round(ms), chars=chars, error=clean(error)[:500],
    )  # fmt: skip
    old = ServerCall.objects.filter(created_at__lt=timezone.now() - KEPT_CALLS).values("pk")[:500]
    ServerCall.objects.filter(pk__in=list(old.values_list("pk", flat=True))).delete()
    OAuthFlow.objects.filter(created_at__lt=timezone.now() - timedelta(seconds=FLOW_SECONDS)).delete()
