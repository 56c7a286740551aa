"""Sign-in through an OpenID Connect provider: a real one over HTTP, as small as it can be."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx2
import jwt
import pytest

from tests.live import Live

SUSPEND = "from webapp.accounts.models import User; User.objects.filter(email='ada@example.org').update(is_active=False)"
INVITE = "from webapp.accounts.models import User; User.objects.create_user('ada', email='ada@example.org')"


class Provider(ThreadingHTTPServer):
    """Says yes to everybody: the person is Ada."""

    verified = True
    refuses = ""
    """The error it sends people back with."""

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def claims(self) -> dict[str, Any]:
        person = {"sub": "ada-1", "email": "ada@example.org", "email_verified": self.verified, "preferred_username": "ada.l"}
        return {**person, "iss": self.issuer, "aud": "patchbay", "iat": int(time.time()), "exp": int(time.time()) + 60}


class Handler(BaseHTTPRequestHandler):
    server: Provider

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/authorize":
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            self.send_response(302)
            said = {"error": self.server.refuses} if self.server.refuses else {"code": "c-1"}
            self.send_header("Location", f"{query['redirect_uri']}?{urlencode({**said, 'state': query['state']})}")
            self.end_headers()
        elif url.path == "/userinfo":
            self._json(self.server.claims())
        else:
            paths = {"authorization_endpoint": "authorize", "token_endpoint": "token", "userinfo_endpoint": "userinfo", "jwks_uri": "jwks"}
            self._json({"issuer": self.server.issuer, **{name: f"{self.server.issuer}/{path}" for name, path in paths.items()}})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        token = jwt.encode(self.server.claims(), "a secret of the provider, long enough", algorithm="HS256")
        self._json({"access_token": "a-1", "token_type": "Bearer", "id_token": token})

    def _json(self, body: Any) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def provider() -> Iterator[Provider]:
    server = Provider(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def sign_in(live: Live) -> httpx2.Response:
    """Press the button on the sign-in page and follow where it leads; then the profile."""
    return press(live)[1]


def press(live: Live) -> tuple[httpx2.Response, httpx2.Response]:
    """Return the target of the sign-in button, and the profile afterwards."""
    with httpx2.Client(base_url=live.url, follow_redirects=True) as browser:
        page = browser.get("/accounts/login/")
        assert "Sign in with Example" in page.text
        form = {"csrfmiddlewaretoken": browser.cookies["csrftoken"]}
        page = browser.post("/accounts/sso/oidc/oidc/login/", data=form, headers={"Referer": live.url})
        return page, browser.get("/accounts/profile/")


def environment(provider: Provider, **more: str) -> dict[str, str]:
    own = {"PATCHBAY_OIDC_ISSUER": provider.issuer, "PATCHBAY_OIDC_CLIENT_ID": "patchbay", "PATCHBAY_OIDC_CLIENT_SECRET": "s"}
    return {**own, "PATCHBAY_OIDC_NAME": "Example", **more}


def test_a_new_person_is_signed_up_and_a_suspended_one_kept_out(new_live: Callable[..., Live], provider: Provider) -> None:
    live = new_live(**environment(provider))
    assert "ada@example.org" in sign_in(live).text
    live.run_python(SUSPEND)
    assert "login-username" in sign_in(live).text


@pytest.mark.slow
def test_only_invited_people_come_in_where_sign_up_is_closed(new_live: Callable[..., Live], provider: Provider) -> None:
    """The invitation is an account with the same address, and only a verified address counts."""
    live = new_live(**environment(provider, PATCHBAY_OIDC_SIGN_UP="0"))
    assert "login-username" in sign_in(live).text
    live.run_python(INVITE)
    provider.verified = False
    assert "login-username" in sign_in(live).text
    provider.verified = True
    assert "ada@example.org" in sign_in(live).text


@pytest.mark.slow
def test_a_provider_that_refuses_or_is_away_is_said_to_be_so(new_live: Callable[..., Live], provider: Provider) -> None:
    live = new_live(**environment(provider))
    provider.refuses = "access_denied"
    page, profile = press(live)
    assert (page.status_code, "Example refused the sign-in" in page.text) == (403, True)
    assert "login-username" in profile.text
    provider.shutdown()
    provider.server_close()
    page, profile = press(live)
    assert (page.status_code, "Example does not respond" in page.text) == (503, True)
    assert "login-username" in profile.text
    lost = httpx2.get(f"{live.url}/accounts/sso/oidc/oidc/login/callback/")
    assert (lost.status_code, "started in another browser" in lost.text) == (403, True)
