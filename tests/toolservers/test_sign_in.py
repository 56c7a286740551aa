"""Signing in at a tool server: discovery, dynamic registration, PKCE, the callback, and tokens that are refreshed."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient, Client
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
        self.metadata: dict[str, object] = {}
        super().__init__()
        self.token = TOKEN
        self.seen: list[dict[str, str]] = []
        self.authorizations: list[str] = []
        self.registered = 0
        self.challenge = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = self.documents().get(scope.get("path", ""))
        if scope["type"] != "http" or (found is None and scope["path"] == "/mcp"):
            await super().__call__(scope, receive, send)
        elif found is not None:
            await _send(send, found)
        elif scope["path"] == "/register":
            self.registered += 1
            asked = json.loads(await _body(receive))
            await _send(send, {**asked, "client_id": "client-1"}, 201)
        elif scope["path"] == "/token":
            headers = dict(scope["headers"])
            self.authorizations.append(headers.get(b"authorization", b"").decode())
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
        server: dict[str, object] = {
            "issuer": origin,
            **{f"{name}_endpoint": url for name, url in endpoints.items()},
            "response_types_supported": ["code"],
        }
        server |= {"code_challenge_methods_supported": ["S256"], "grant_types_supported": ["authorization_code", "refresh_token"]}
        server |= self.metadata
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


async def begun(
    page: AsyncClient, sign_in_server: SignInServer, *, client: dict[str, str] | None = None, **options: Any
) -> tuple[ToolServer, dict[str, str]]:
    """Press *Sign in*; the server, and the query of the address that the page leads to."""
    server = await sync_to_async(services.add_server)(name="sign_in_server", url=sign_in_server.url, oauth_client=client)
    with pytest.raises(ToolServerError, match="401"):
        await toolset.refresh(server)
    await server.arefresh_from_db()
    assert server.sign_in_needed
    answer = await page.post(f"/tools/{server.pk}/sign-in/", **options)
    html = answer.content.decode()
    address = html.split('data-testid="sign-in-link"')[1].split('href="')[1].split('"')[0].replace("&amp;", "&")
    query = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert query["code_challenge_method"] == "S256"
    assert client or options or query["client_id"] == "client-1"
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


GIVEN = {"client_id": "given-1", "client_secret": "s3cret:/"}


async def came_back(page: AsyncClient, query: dict[str, str]) -> None:
    await page.get("/tools/callback/?" + urlencode({"code": "code-1", "state": query["state"]}))


@pytest.mark.parametrize("methods", [None, ["client_secret_basic"], ["client_secret_post"]])
async def test_a_client_that_was_registered_by_hand_is_used(
    page: AsyncClient, sign_in_server: SignInServer, methods: list[str] | None
) -> None:
    sign_in_server.metadata = {"token_endpoint_auth_methods_supported": methods} if methods else {}
    server, query = await begun(page, sign_in_server, client=GIVEN)
    assert query["client_id"] == "given-1"
    assert "s3cret" not in str(await ToolServer.objects.filter(pk=server.pk).values().afirst())
    await came_back(page, query)
    await listed(server)
    basic = "Basic " + base64.b64encode(b"given-1:s3cret%3A%2F").decode()
    in_body = methods == ["client_secret_post"]
    assert sign_in_server.authorizations == ["" if in_body else basic]
    assert sign_in_server.seen[0].get("client_secret") == ("s3cret:/" if in_body else None)
    assert sign_in_server.registered == 0


async def test_a_client_without_a_secret_is_public(page: AsyncClient, sign_in_server: SignInServer) -> None:
    server, query = await begun(page, sign_in_server, client={"client_id": "given-1"})
    await came_back(page, query)
    await listed(server)
    assert (sign_in_server.authorizations, sign_in_server.seen[0]["client_id"]) == ([""], "given-1")


def given(server: ToolServer) -> object:
    server.refresh_from_db()
    return services.stored_oauth(server).get("given")


def test_the_form_keeps_changes_and_forgets_a_client(users: Users, client: Client) -> None:
    client.force_login(users.administrator)
    server = services.add_server(name="a", url="http://127.0.0.1:9/mcp")
    form = {"url": server.url, "enabled": "on", "call_seconds": "30", "result_chars": "5000", "max_calls": "5"}
    page = f"/tools/{server.pk}/edit/"
    client.post(page, {**form, "oauth_client_id": "given-1", "oauth_client_secret": "s3cret"})
    assert given(server) == {"client_id": "given-1", "client_secret": "s3cret"}
    shown = client.get(page).content.decode()
    assert "given-1" in shown
    assert "s3cret" not in shown
    client.post(page, {**form, "oauth_client_id": "given-1"})
    assert given(server) == {"client_id": "given-1", "client_secret": "s3cret"}
    client.post(page, {**form, "oauth_client_id": "given-2"})
    assert given(server) == {"client_id": "given-2", "client_secret": ""}
    client.post(page, form)
    assert given(server) is None


async def test_the_address_of_a_document_is_the_client_where_the_server_reads_such(
    page: AsyncClient, sign_in_server: SignInServer, settings: Any
) -> None:
    settings.ALLOWED_HOSTS, settings.USE_X_FORWARDED_HOST = ["patchbay.acme.org", "testserver"], True
    sign_in_server.metadata = {"client_id_metadata_document_supported": True}
    server, query = await begun(page, sign_in_server, secure=True, headers={"x-forwarded-host": "patchbay.acme.org"})
    assert query["client_id"] == "https://patchbay.acme.org/tools/oauth-client.json"
    assert sign_in_server.registered == 0
    stranger = AsyncClient()
    document = (await stranger.get("/tools/oauth-client.json", secure=True, headers={"x-forwarded-host": "patchbay.acme.org"})).json()
    assert document["client_id"] == query["client_id"]
    assert document["redirect_uris"] == [query["redirect_uri"]]
    assert document["token_endpoint_auth_method"] == "none"
    await page.get(
        "/tools/callback/?" + urlencode({"code": "code-1", "state": query["state"]}), headers={"x-forwarded-host": "patchbay.acme.org"}
    )
    await listed(server)


@pytest.mark.parametrize(
    "address",
    ["http://patchbay.acme.org/", "https://localhost/", "https://10.0.0.1/", "https://patchbay.internal/", "https://patchbay.lan:8443/"],
)
def test_a_document_that_nobody_could_read_is_not_named(address: str) -> None:
    assert oauth.metadata_url(f"{address}tools/callback/") is None
