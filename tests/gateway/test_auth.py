"""Bearer tokens: who is let in, and how soon who no longer may is kept out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from tests.gateway.api import MESSAGES, Api
from tests.upstream import Upstream
from webapp.backends import selectors
from webapp.backends.models import ApiToken, Route
from webapp.backends.services import create_token, revoke_token
from webapp.gateway import auth, usage

BAD = [
    "", "Bearer", "Bearer ", "Bearer wrong", "Bearer ' OR 1=1--", "Bearer %00", "Bearer \x00", "Bearer \x00abc", "Bearer é",
    "Bearer " + "x" * 1_000_000, "Basic dXNlcjpwYXNz", "bearer", "Token abc",
]  # fmt: skip


@pytest.mark.parametrize(("method", "path"), [("GET", "models"), ("POST", "chat/completions")])
async def test_anything_but_a_good_token_is_a_401_that_says_how_to_send_one(api: Api, method: str, path: str) -> None:
    """FAULTS 16."""
    for value in BAD:
        response = await api.http.request(method, path, headers={b"authorization": value.encode("latin-1")})
        assert response.status_code == 401, value[:20]
        assert response.headers["www-authenticate"].startswith("Bearer")
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
        assert response.json()["error"]["code"] == "invalid_api_key"


async def test_the_scheme_may_be_written_in_any_case(api: Api) -> None:
    assert (await api.http.get("models", headers={"authorization": f"bearer {api.token}"})).status_code == 200


async def test_a_revoked_token_and_a_suspended_user_are_out_once_the_lookup_is_stale(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 9: the lookup is kept for less than 5 s; the clock is moved here."""
    now = [0.0]
    monkeypatch.setattr(auth, "tokens", auth.Tokens(clock=lambda: now[0]))
    assert (await api.http.get("models")).status_code == 200
    assert api.row
    await sync_to_async(revoke_token)(token=api.row)
    now[0] += auth.FRESH_SECONDS + auth.STALE_SECONDS + 0.01
    assert (await api.http.get("models")).status_code == 401
    await api.use_token(api.users.other)
    assert (await api.http.get("models")).status_code == 200
    api.users.other.is_active = False
    await api.users.other.asave()
    now[0] += auth.FRESH_SECONDS + auth.STALE_SECONDS + 0.01
    assert (await api.http.get("models")).status_code == 401
    assert auth.FRESH_SECONDS + auth.STALE_SECONDS < 5


async def test_a_token_ends_at_its_time_even_while_it_is_known(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await api.use_token(api.users.owner, expires_at=timezone.now() + timedelta(hours=1))
    assert (await api.http.get("models")).status_code == 200
    later = timezone.now() + timedelta(hours=2)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    assert (await api.http.get("models")).status_code == 401


async def test_a_token_is_looked_up_once_and_not_for_each_request(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    find = selectors.token_by_plaintext

    def counted(plaintext: str) -> ApiToken | None:
        asked.append(plaintext)
        return find(plaintext)

    monkeypatch.setattr(selectors, "token_by_plaintext", counted)
    for _ in range(20):
        await api.http.get("models")
        await api.http.get("models", headers={"authorization": "Bearer wrong"})
    assert len(asked) == 2


async def test_no_more_tokens_are_remembered_than_fit(users: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_KNOWN", 3)
    tokens = auth.Tokens()
    for number in range(9):
        assert await tokens.find(f"wrong{number}") is None
    assert len(tokens) == 3


@pytest.mark.parametrize(
    ("path", "scope"),
    [("chat/completions", "chat"), ("completions", "chat"), ("embeddings", "embeddings"), ("files", "files"), ("batches", "batches")],
)
async def test_a_token_does_only_what_its_scopes_say(api: Api, path: str, scope: str) -> None:
    await api.use_token(api.users.owner, scopes=["models"])
    response = await api.post(path, {})
    assert (response.status_code, response.json()["error"]["code"]) == (403, "missing_scope")
    assert scope in response.json()["error"]["message"]
    assert (await api.http.get("models")).status_code == 200


async def test_a_restricted_route_is_closed_by_every_name(api: Api, upstream: Upstream) -> None:
    """FAULTS 8."""
    await api.serve(upstream, route="secret", model="m")
    route = await Route.objects.aget(name="secret")
    await route.allowed_users.aadd(api.users.other)
    for name in ("secret", "backend0/m", "m"):
        response = await api.chat(model=name)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "model_forbidden")
        assert (await api.http.get(f"models/{name}")).status_code == 403
    assert (await api.http.get("models")).json()["data"] == []
    assert upstream.requests == []
    await api.use_token(api.users.other)
    assert (await api.chat(model="secret")).status_code == 200


async def test_when_a_token_was_last_used_is_written_behind(api: Api) -> None:
    await api.http.get("models")
    await usage.flush()
    assert api.row
    token = await ApiToken.objects.aget(pk=api.row.pk)
    assert token.last_used_at is not None


async def test_an_unknown_model_is_a_404_that_names_the_parameter(api: Api) -> None:
    for name in ("nope", "backend9/x", "a" * 500, "with\x00nul", "<script>"):
        response = await api.post("chat/completions", {"model": name, "messages": MESSAGES})
        assert response.status_code == 404
        assert (response.json()["error"]["code"], response.json()["error"]["param"]) == ("model_not_found", "model")


async def test_the_token_itself_is_nowhere_in_the_database(api: Api) -> None:
    _, plaintext = await sync_to_async(create_token)(user=api.users.owner)
    row = await ApiToken.objects.order_by("-pk").afirst()
    assert row is not None
    assert plaintext not in str(row.__dict__)
