"""The security headers of every response, and the attributes of its cookies."""

from __future__ import annotations

import re
from http.cookies import Morsel

import httpx2
import pytest
from django.conf import LazySettings
from django.http import HttpResponseBase
from django.test import Client

from tests.live import Live
from tests.security.conftest import Things, addresses, path_of
from tests.users import PASSWORD, Users

pytestmark = pytest.mark.usefixtures("no_model")

ALWAYS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin", "X-Frame-Options": "DENY"}
LOCKED = {"default-src": "'none'", "base-uri": "'none'", "frame-ancestors": "'none'", "form-action": "'self'", "report-uri": "/csp-report/"}
NONCE = re.compile(r"'nonce-([^']+)'")
INLINE = re.compile(
    r"<(?:script|style)(?![^>]*\b(?:src|nonce|type=\"application/json\"))[^>]*>|<[^>]+\s(?:style|on[a-z]+)=[^>]*>|javascript:"
)
"""The sources that the content security policy blocks: a page that uses one does not work."""


def policy_of(headers: httpx2.Headers | HttpResponseBase) -> dict[str, str]:
    """The directives."""
    parts = headers.get("Content-Security-Policy", "").split(";")
    return {name: value for name, _, value in (part.strip().partition(" ") for part in parts)}


def problems(headers: httpx2.Headers | HttpResponseBase) -> list[str]:
    """Return the faults in the headers of a response to a browser."""
    policy = policy_of(headers)
    wrong = [name for name, value in ALWAYS.items() if headers.get(name) != value]
    wrong += [name for name, value in LOCKED.items() if policy.get(name) != value]
    return wrong + [f"{name} {value}" for name, value in policy.items() if re.search(r"unsafe|\*|https?:", value)]


def test_every_address_sends_the_policy_and_its_kin(things: Things, client: Client, as_owner: Client, as_administrator: Client) -> None:
    """Signed out, as a user and as an administrator: pages, redirects, refusals, downloads; and the pages hold to it."""
    wrong: list[object] = []
    for address in addresses():
        if address.id == "chat:preview":  # the sandboxed frame has a policy of its own (ADR 0016)
            continue
        path = path_of(address, things)
        for who, method in ((client, "get"), (as_owner, "get"), (as_owner, "put"), (as_administrator, "get")):
            response = getattr(who, method)(path)
            if found := problems(response):
                wrong.append((address.id, method, response.status_code, found))
            if not response.streaming and response["Content-Type"].startswith("text/html"):
                wrong += [(address.id, found) for found in INLINE.findall(response.content.decode())]
    assert wrong == []


def test_a_nonce_is_of_one_answer(as_owner: Client) -> None:
    nonces = [NONCE.findall(policy_of(page := as_owner.get("/chat/"))["script-src"]) for _ in range(3)]
    assert all(len(set(found)) == 1 for found in nonces)
    assert len({found[0] for found in nonces}) == 3
    assert f'nonce="{nonces[-1][0]}"' in page.content.decode()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/accounts/login/", 200), ("/nowhere/", 404), ("/chat/", 302), ("/accounts/logout/", 405), ("/static/nothing.css", 404)],
)
def test_a_running_server_sends_them_too(live: Live, path: str, status: int) -> None:
    response = httpx2.get(live.url + path)
    assert response.status_code == status
    assert problems(response.headers) == []
    assert "server" not in response.headers


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/models"), ("GET", "/v1/nowhere"), ("PUT", "/v1/chat/completions"), ("GET", "/v1/files/file-x/content"), ("GET", "/v1")],
)
def test_no_browser_takes_an_answer_of_the_gateway_for_a_page(live: Live, method: str, path: str) -> None:
    """It has no pages and no session: JSON that nobody sniffs and that no cache keeps."""
    response = httpx2.request(method, live.url + path)
    assert response.status_code in {401, 404, 405}
    assert response.headers["content-type"] == "application/json"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in response.headers
    assert "set-cookie" not in response.headers


def test_a_static_file_is_what_it_says(live: Live) -> None:
    address = re.findall(r'href="(/static/[^"]+\.css)"', httpx2.get(f"{live.url}/accounts/login/").text)[0]
    response = httpx2.get(live.url + address)
    assert response.headers["content-type"].startswith("text/css")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "immutable" in response.headers["cache-control"]


# --- cookies -----------------------------------------------------------------------------------------------------------------------------


def cookies_after_signing_in(client: Client, *, secure: bool) -> dict[str, Morsel[str]]:
    client.post("/accounts/login/", {"username": "owner", "password": PASSWORD}, secure=secure)
    client.post("/accounts/theme/", {"theme": "dark"}, secure=secure)
    return dict(client.cookies.items())


def test_cookies_are_kept_from_other_sites_and_the_session_from_scripts(client: Client, users: Users) -> None:
    cookies = cookies_after_signing_in(client, secure=False)
    assert set(cookies) == {"sessionid", "csrftoken", "theme"}
    assert {cookie["samesite"] for cookie in cookies.values()} == {"Lax"}
    assert cookies["sessionid"]["httponly"]
    assert not any(cookie["domain"] for cookie in cookies.values())


def test_behind_tls_no_cookie_leaves_without_it(client: Client, users: Users, settings: LazySettings) -> None:
    """The settings that follow from PATCHBAY_HTTPS_ONLY (webapp/settings.py)."""
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    cookies = cookies_after_signing_in(client, secure=True)
    assert all(cookie["secure"] for cookie in cookies.values())


def test_a_cookie_of_the_browser_s_own_making_opens_nothing(client: Client, users: Users) -> None:
    for value in ("x", "a" * 32, "' OR 1=1--", "\0", "x" * 10_000):
        client.cookies["sessionid"] = value
        assert client.get("/chat/").status_code == 302


# --- the name that a browser asked for -------------------------------------------------------------------------------------------------

FOREIGN = ("evil.example", "localhost.evil.example", "evil.example:80", "localhost@evil.example", "[::ffff:1.2.3.4]", "", "a b", "\\")


@pytest.mark.parametrize("host", FOREIGN)
def test_another_name_gets_no_page(client: Client, users: Users, host: str) -> None:
    """DNS rebinding, poisoned links."""
    for path in ("/", "/accounts/login/", "/nowhere/"):
        response = client.get(path, headers={"host": host})
        assert response.status_code == 400, path
        assert host not in response.content.decode() or not host.strip()


def test_what_a_proxy_would_say_is_not_believed_without_one(client: Client, users: Users, live: Live) -> None:
    """X-Forwarded-*: links, the scheme and the address that sign-ins are counted by come from the connection."""
    forged = {
        "x-forwarded-host": "evil.example",
        "x-forwarded-proto": "https",
        "x-forwarded-for": "6.6.6.6",
        "forwarded": "host=evil.example",
    }
    page = httpx2.get(f"{live.url}/accounts/setup/", headers=forged, follow_redirects=True)
    assert "evil.example" not in page.text + str(page.history)
    request = client.get("/accounts/login/", headers=forged).wsgi_request
    assert (request.get_host(), request.scheme) == ("testserver", "http")
    for _ in range(11):
        forged["x-forwarded-for"] = f"6.6.6.{_}"
        last = client.post("/accounts/login/", {"username": "owner", "password": "guess"}, headers=forged)
    assert last.status_code == 429
