"""Sign in at a tool server with OAuth 2.1: discovery, dynamic registration and PKCE are the SDK's; tokens are stored encrypted.

A person starts the sign-in on a page. A task then runs the flow, and waits for the code that the callback page puts into the database:
the callback may reach another process.
"""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urljoin, urlsplit

from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from webapp.backends.config.crypto import KeyLost, Secret
from webapp.core.database import in_database
from webapp.patterns.http.addresses import as_literal
from webapp.patterns.mcp.connection import Connection
from webapp.patterns.mcp.types import ServerSpec, ToolServerError
from webapp.toolservers import selectors, services
from webapp.toolservers.models import OAuthFlow, ToolServer

if TYPE_CHECKING:
    import httpx2
    from mcp.client.auth.oauth2 import OAuthContext
    from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthToken

POLL_SECONDS = 0.5
REDIRECT_SECONDS = 30.0
BASIC, POST, PUBLIC = "client_secret_basic", "client_secret_post", "none"
"""Ways to authenticate at a token endpoint."""
PRIVATE_NAMES = (".local", ".localhost", ".internal", ".lan", ".home.arpa", ".test", ".example")
"""Ends of names that no public authorization server can reach."""
SIGN_IN = "Sign in at this tool server on its page first."


class SignInNeeded(ToolServerError):
    """The server wants an OAuth sign-in that only a person can make."""


def is_sign_in(error: ToolServerError) -> bool:
    """Return whether a server can be used after a sign-in."""
    return isinstance(error, SignInNeeded) or SIGN_IN in error.message or "401" in error.message


def spec_with_sign_in(server: ToolServer) -> ServerSpec:
    """Return how to reach a server, with the tokens of an earlier sign-in. They are refreshed as needed."""
    spec = selectors.spec_of(server)
    if not selectors.opened_secret(server, server.oauth).get("tokens"):
        return spec
    return replace(spec, authorization=_provider(server, _Denied()))


class _Storage:
    """The tokens and the client's registration, in the server's row.

    With the tokens it keeps when they expire and where to refresh them. The SDK's provider knows that only in the process that got them.
    """

    def __init__(self, server_id: int) -> None:
        self._server_id = server_id
        self.context: OAuthContext | None = None

    async def get_tokens(self) -> OAuthToken | None:
        from mcp.shared.auth import OAuthMetadata, OAuthToken, ProtectedResourceMetadata

        kept = await in_database(self._read)
        if self.context and kept.get("metadata"):
            self.context.oauth_metadata = OAuthMetadata.model_validate(kept["metadata"])
        if self.context and kept.get("resource"):
            self.context.protected_resource_metadata = ProtectedResourceMetadata.model_validate(kept["resource"])
        if self.context:
            self.context.token_expiry_time = kept.get("expires_at")
        return OAuthToken.model_validate(kept["tokens"]) if kept.get("tokens") else None

    async def set_tokens(self, tokens: OAuthToken) -> None:
        context = self.context
        metadata, resource = (context.oauth_metadata, context.protected_resource_metadata) if context else (None, None)
        values = {
            "tokens": tokens.model_dump(mode="json", exclude_none=True),
            "expires_at": time.time() + tokens.expires_in if tokens.expires_in else None,
            "metadata": metadata.model_dump(mode="json", exclude_none=True) if metadata else None,
            "resource": resource.model_dump(mode="json", exclude_none=True) if resource else None,
        }
        await in_database(self._write, values)

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        from mcp.shared.auth import OAuthClientInformationFull

        kept = await in_database(self._read)
        client = kept.get("client") or _registered_by_hand(kept.get("given"))
        return OAuthClientInformationFull.model_validate(client) if client else None

    async def choose_method(self) -> None:
        """Send the secret of a client that was registered by hand in the way that the authorization server names."""
        context = self.context
        client, metadata = (context.client_info, context.oauth_metadata) if context else (None, None)
        methods = (metadata.token_endpoint_auth_methods_supported if metadata else None) or [BASIC]
        if client and client.token_endpoint_auth_method == BASIC and BASIC not in methods and POST in methods:
            client.token_endpoint_auth_method = POST
            await self.set_client_info(client)

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        await in_database(self._write, {"client": client_info.model_dump(mode="json", exclude_none=True)})

    def _read(self) -> dict[str, Any]:
        server = ToolServer.objects.filter(pk=self._server_id).first()
        try:
            kept: dict[str, Any] = json.loads(server.oauth.reveal() or "{}") if server else {}
        except KeyLost as error:
            raise ToolServerError(str(error)) from error
        return kept

    @transaction.atomic
    def _write(self, values: dict[str, Any]) -> None:
        server = ToolServer.objects.select_for_update().filter(pk=self._server_id).first()
        if server:
            kept = json.loads(server.oauth.reveal() or "{}")
            server.oauth = Secret.of(json.dumps({**kept, **values}))
            server.save(update_fields=["oauth"])


def _registered_by_hand(given: Any) -> dict[str, Any] | None:
    """Return a client that was registered by hand, as the SDK keeps clients."""
    if not given:
        return None
    secret = given.get("client_secret")
    method = {"client_secret": secret, "token_endpoint_auth_method": BASIC} if secret else {"token_endpoint_auth_method": PUBLIC}
    return {"client_id": given["client_id"], **method}


class _Denied:
    """No person is there: the flow ends where one would be sent to a page."""

    redirect_uri = "http://localhost/unused"
    storage: _Storage | None = None

    async def redirect(self, _url: str) -> None:
        raise SignInNeeded(SIGN_IN)

    async def callback(self) -> AuthorizationCodeResult:
        raise SignInNeeded(SIGN_IN)


class _Flow:
    """A person's sign-in: gives the address to send them to, and waits for the code."""

    def __init__(self, server: ToolServer, user_id: int, redirect_uri: str) -> None:
        self.redirect_uri = redirect_uri
        self.storage: _Storage | None = None
        self.address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._server = server
        self._user_id = user_id
        self._state = ""

    async def redirect(self, url: str) -> None:
        if self.storage:
            await self.storage.choose_method()
        self._state = parse_qs(urlsplit(url).query)["state"][0]
        await in_database(OAuthFlow.objects.create, state=self._state, server=self._server, user_id=self._user_id)
        self.address.set_result(url)

    async def callback(self) -> AuthorizationCodeResult:
        from mcp.shared.auth import AuthorizationCodeResult

        async with asyncio.timeout(services.FLOW_SECONDS):
            while True:
                flow = await in_database(OAuthFlow.objects.filter(state=self._state).first)
                if flow is None or flow.error:
                    raise SignInNeeded(f"The sign-in was refused: {flow.error if flow else 'it was withdrawn'}")
                if flow.code:
                    await in_database(flow.delete)
                    return AuthorizationCodeResult(code=flow.code, state=self._state, iss=flow.issuer or None)
                await asyncio.sleep(POLL_SECONDS)


def _provider(server: ToolServer, person: _Denied | _Flow) -> httpx2.Auth:
    from mcp.client.auth import OAuthClientProvider
    from mcp.shared.auth import OAuthClientMetadata

    metadata = OAuthClientMetadata.model_validate(client_metadata(person.redirect_uri))
    storage = person.storage = _Storage(server.pk)
    document = metadata_url(person.redirect_uri)
    provider = OAuthClientProvider(server.url, metadata, storage, person.redirect, person.callback, client_metadata_url=document)
    storage.context = provider.context
    return provider


def client_metadata(redirect_uri: str) -> dict[str, Any]:
    """Return how Patchbay describes itself to authorization servers: a public client, protected by PKCE."""
    return {
        "client_name": "Patchbay",
        "redirect_uris": [redirect_uri],
        "grant_types": ["authorization_code", "refresh_token"],
        "response_types": ["code"],
        "token_endpoint_auth_method": PUBLIC,
    }


def metadata_url(redirect_uri: str) -> str | None:
    """Return the address of the Client ID Metadata Document, which stands beside the callback.

    None where no authorization server could read it: it must be https, at a name of the public network.
    """
    parts = urlsplit(redirect_uri)
    host = parts.hostname or ""
    if parts.scheme != "https" or "." not in host or host.endswith(PRIVATE_NAMES) or as_literal(host):
        return None
    return urljoin(redirect_uri, reverse("toolservers:client_metadata"))


_tasks: set[asyncio.Task[None]] = set()


def pending() -> tuple[asyncio.Task[None], ...]:
    """Return the tasks of the sign-ins that are under way in this process."""
    return tuple(_tasks)


async def begin(server: ToolServer, user_id: int, redirect_uri: str) -> str:
    """Start a sign-in and return the address to send the person to. Empty where the server asks for none.

    Raises:
        ToolServerError: the server or its authorization server cannot be used.
    """
    flow = _Flow(server, user_id, redirect_uri)
    await in_database(_forget, server)
    task = asyncio.create_task(_sign_in(server, flow))
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)
    waiting: set[asyncio.Future[Any]] = {task, flow.address}
    await asyncio.wait(waiting, timeout=REDIRECT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
    if flow.address.done():
        return flow.address.result()
    if not task.done():
        task.cancel()
        raise ToolServerError(f"{server.name} did not answer within {REDIRECT_SECONDS:g} s.")
    if error := task.exception():
        raise error if isinstance(error, ToolServerError) else ToolServerError(str(error))
    return ""


async def _sign_in(server: ToolServer, flow: _Flow) -> None:
    """Connect with the flow in place, and keep the tools that the server then lists."""
    spec = await in_database(selectors.spec_of, server)
    patience = services.FLOW_SECONDS + REDIRECT_SECONDS
    connection = Connection(replace(spec, authorization=_provider(server, flow), connect_seconds=patience))
    try:
        tools = await connection.tools()
        await in_database(services.store_tools, server=server, info=await connection.info(), tools=tools)
    except ToolServerError as error:
        await in_database(services.store_failure, server=server, error=error.message, sign_in_needed=True)
        raise
    finally:
        await connection.aclose()


def _forget(server: ToolServer) -> None:
    """Drop earlier tokens and registrations: the address of this installation may have changed since. Keep what a person registered."""
    given = services.stored_oauth(server).get("given")
    ToolServer.objects.filter(pk=server.pk).update(oauth=Secret.of(json.dumps({"given": given})) if given else Secret())
    OAuthFlow.objects.filter(server=server).delete()


def finish(*, state: str, user_id: int, code: str, issuer: str, error: str) -> ToolServer | None:
    """Take in what the authorization server sent the person back with. Return the server; None for an unknown or another user's flow."""
    since = timezone.now() - timedelta(seconds=services.FLOW_SECONDS)
    flow = OAuthFlow.objects.filter(state=state, user_id=user_id, created_at__gte=since, code="").select_related("server").first()
    if flow is None:
        return None
    flow.code, flow.issuer, flow.error = code, issuer[:500], ("" if code else error or "no code came back")[:500]
    flow.save(update_fields=["code", "issuer", "error"])
    return flow.server
