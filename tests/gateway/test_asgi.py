"""The rules that every path and method below /v1 follows."""

from __future__ import annotations

import uuid

import httpx2
import pytest
from django.db import DatabaseError

from tests.gateway.api import CHAT, Api
from tests.upstream import Upstream
from webapp.backends.runtime import registry

KEYS = {"message", "type", "param", "code"}
PATHS = [
    "chat/completions", "completions", "embeddings", "models", "models/m", "files", "files/file-1", "files/file-1/content",
    "batches", "batches/batch_1", "batches/batch_1/cancel",
    "", "nowhere", "chat", "chat/completions/x", "audio/speech", "..%2fadmin", "%00",
]  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "QUERY"])
async def test_nothing_leaves_without_the_error_shape_and_a_request_id(api: Api, method: str) -> None:
    for path in PATHS:
        response = await api.http.request(method, path)
        assert uuid.UUID(response.headers["x-request-id"])
        assert response.headers["content-type"] == "application/json"
        if response.status_code != 200:
            assert response.status_code in {400, 404, 405, 501}, path
            assert set(response.json()["error"]) == KEYS, path


async def test_a_wrong_method_names_the_right_ones(api: Api) -> None:
    response = await api.http.get("chat/completions")
    assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")
    assert (await api.http.delete("models")).headers["allow"] == "GET, HEAD, OPTIONS"


async def test_options_says_what_is_allowed_and_opens_nothing_to_other_origins(api: Api) -> None:
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    response = await api.http.options("chat/completions", headers=headers)
    assert (response.status_code, response.headers["allow"]) == (204, "OPTIONS, POST")
    assert not [name for name in response.headers if name.startswith("access-control")]


async def test_head_is_get_without_the_body(api: Api) -> None:
    response = await api.http.head("models")
    assert response.status_code == 200
    assert response.content == b""
    assert int(response.headers["content-length"]) > 0
    assert (await api.http.head("models", headers={"authorization": ""})).status_code == 401


async def test_a_database_that_is_away_is_a_503_that_says_when_to_come_back(
    api: Api, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAULTS 50."""

    async def away(*_args: object, **_kwargs: object) -> None:
        raise DatabaseError("server closed the connection at 10.0.0.3")

    monkeypatch.setattr(registry, "resolve", away)
    response = await api.chat()
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert "10.0.0.3" not in response.text


async def test_a_fault_of_our_own_is_a_500_that_shows_nothing_of_our_inside(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_args: object, **_kwargs: object) -> None:
        raise RuntimeError("/srv/patchbay/secret.py line 7")

    monkeypatch.setattr(registry, "resolve", broken)
    response = await api.chat()
    assert response.status_code == 500
    assert set(response.json()["error"]) == KEYS
    assert "secret.py" not in response.text
    assert response.headers["x-request-id"] in response.text


async def test_the_body_is_not_read_before_the_token_is_known() -> None:
    from webapp.asgi import application

    async def never() -> dict[str, object]:
        raise AssertionError("the body was asked for")

    sent: list[dict[str, object]] = []

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/chat/completions", "query_string": b"", "headers": [(b"content-length", b"9")]}
    await application(scope, never, send)
    assert sent[0]["status"] == 401


async def test_what_is_asked_reaches_nobody_without_a_token(api: Api, upstream: Upstream) -> None:
    await api.serve(upstream)
    response = await api.http.post("chat/completions", json=CHAT, headers={"authorization": ""})
    assert response.status_code == 401
    assert isinstance(response, httpx2.Response)
    assert upstream.requests == []
