"""Signing in at a tool server: discovery, dynamic registration, PKCE, the callback, and tokens that are refreshed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient
from starlette.types import Receive, Scope, Send

from tests.tool_server import McpServer
from tests.users import Users
from webapp.backends.config.crypto import Secret
from webapp.patterns.mcp.types import ToolServerError
from webapp.toolservers import oauth, services, toolset
from webapp.toolservers.connections import sessions
from webapp.toolservers.models import OAuthFlow, ToolServer

TOKEN = "access-1"


class SignInServer(McpServer):
    """A tool server that is its own authorization server. `seen` holds the forms of its token endpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.token = TOKEN
        self.seen: list[dict[str, str]] = []
        self.challenge = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.documents().get(scope.get("path", ""))
        if scope["type"] != "http" or (found is None and scope["path"] == "/mcp"):
            await super().__call__(scope, receive, send)
        elif found is not None:
            await _send(send, found)
        elif scope["path"] == "/register":
            asked = json.loads(await _body(receive))
            await _send(send, {**asked, "client_id": "client-1"}, 201)
        elif scope["path"] == "/token":
            await _send(send, self.issued(await _body(receive)))
        else:
            await _send(send, {}, 404)

    def documents(self) -> dict[str, object]:
        """The metadata, by path."""
        origin = f"http://127.0.0.1:{self.port}"
        resource = {"resource": self.url, "authorization_servers": [origin]}
        endpoints = {
            name: f"{origin}/{path}" for name, path in (("authorization", "authorize"), ("token", "token"), ("registration", "register"))
        }
        server = {"issuer": origin, **{f"{name}_endpoint": url for name, url in endpoints.items()}, "response_types_supported": ["code"]}
        server |= {"code_challenge_methods_supported": ["S256"], "grant_types_supported": ["authorization_code", "refresh_token"]}
        return {
            "/.well-known/oauth-protected-resource/mcp": resource,
            "/.well-known/oauth-protected-resource": resource,
            "/.well-known/oauth-authorization-server": server,
        }

    def issued(self, body: bytes) -> dict[str, object]:
        """Issue tokens for a code whose verifier fits the challenge, or for a refresh token."""
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.seen.append(form)
        if form["grant_type"] == "authorization_code":
            digest = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=").decode()
            assert digest == self.challenge
        return {"access_token": self.token, "token_type": "Bearer", "expires_in": 3600, "refresh_token": "refresh-1"}


async def _body(receive: Receive) -> bytes:
    body, more = b"", True
    while more:
        message = await receive()
        body, more = body + message.get("body", b""), message.get("more_body", False)
    return body


async def _send(send: Send, body: object, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


@pytest.fixture
def sign_in_server() -> Iterator[SignInServer]:
    server = SignInServer()
    yield server
    server.stop()


@pytest.fixture
async def page(users: Users) -> AsyncIterator[AsyncClient]:
    client = AsyncClient()
    await sync_to_async(client.force_login)(users.administrator)
    yield client
    await sessions.aclose()


async def begun(page: AsyncClient, sign_in_server: SignInServer) -> tuple[ToolServer, dict[str, str]]:
    """Press *Sign in*; the server, and the query of the address that the page leads to."""
    server = await sync_to_async(services.add_server)(name="sign_in_server", url=sign_in_server.url)
    with pytest.raises(ToolServerError, match="401"):
        await toolset.refresh(server)
    await server.arefresh_from_db()
    assert server.sign_in_needed
    answer = await page.post(f"/tools/{server.pk}/sign-in/")
    html = answer.content.decode()
    address = html.split('data-testid="sign-in-link"')[1].split('href="')[1].split('"')[0].replace("&amp;", "&")
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert (query["code_challenge_method"], query["client_id"]) == ("S256", "client-1")
    sign_in_server.challenge = query["code_challenge"]
    return server, query


async def listed(server: ToolServer) -> None:
    """Wait for the task that runs the sign-in to list the tools."""
    await asyncio.gather(*oauth.pending())
    await server.arefresh_from_db()
    assert await server.tools.aexists()


async def test_a_person_signs_in_and_the_tools_appear(page: AsyncClient, sign_in_server: SignInServer) -> None:
    server, query = await begun(page, sign_in_server)
    back = urlsplit(query["redirect_uri"]).path + "?" + urlencode({"code": "code-1", "state": query["state"]})
    answer = await page.get(back)
    assert answer.headers["location"] == f"/tools/{server.pk}/"
    await listed(server)
    assert not server.sign_in_needed
    assert TOKEN not in str(await ToolServer.objects.filter(pk=server.pk).values().afirst())
    assert sign_in_server.seen[0]["code"] == "code-1"
    assert len(await toolset.refresh(server)) > 5  # with the stored token


async def test_an_expired_token_is_refreshed(page: AsyncClient, sign_in_server: SignInServer) -> None:
    server, query = await begun(page, sign_in_server)
    await page.get(urlsplit(query["redirect_uri"]).path + "?" + urlencode({"code": "code-1", "state": query["state"]}))
    await listed(server)
    kept = json.loads(server.oauth.reveal())
    await ToolServer.objects.filter(pk=server.pk).aupdate(oauth=Secret.of(json.dumps({**kept, "expires_at": 1})))
    await server.arefresh_from_db()
    sign_in_server.token = "access-2"
    await toolset.refresh(server)
    assert sign_in_server.seen[-1]["grant_type"] == "refresh_token"
    assert sign_in_server.headers["authorization"] == "Bearer access-2"


async def test_another_persons_or_an_unknown_state_is_refused(page: AsyncClient, sign_in_server: SignInServer, users: Users) -> None:
    _server, query = await begun(page, sign_in_server)
    stranger = AsyncClient()
    await sync_to_async(stranger.force_login)(users.other)
    for client, state in ((stranger, query["state"]), (page, "unknown")):
        answer = await client.get("/tools/callback/?" + urlencode({"code": "stolen", "state": state}))
        assert answer.headers["location"] == "/tools/"
    assert not await OAuthFlow.objects.exclude(code="").aexists()


async def test_a_refusal_is_shown(page: AsyncClient, sign_in_server: SignInServer) -> None:
    server, query = await begun(page, sign_in_server)
    await page.get("/tools/callback/?" + urlencode({"error": "access_denied", "state": query["state"]}))
    with pytest.raises(ToolServerError, match="access_denied"):
        await asyncio.gather(*oauth.pending())
    await server.arefresh_from_db()
    assert "access_denied" in server.error
    assert server.sign_in_needed
