"""Pages of other origins may call /v1 where the settings name them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.api import Api
from tests.upstream import Upstream

PAGE = "https://app.example.org"


@pytest.mark.parametrize("allowed", [[PAGE], ["*"]])
async def test_a_page_of_an_allowed_origin_may_ask_and_read(api: Api, upstream: Upstream, settings: Any, allowed: list[str]) -> None:
    settings.CORS_ORIGINS = allowed
    await api.serve(upstream)
    asked = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "authorization, x-stainless-os"}
    preflight = await api.http.request("OPTIONS", "chat/completions", headers=asked)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == PAGE
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert preflight.headers["access-control-allow-headers"] == "authorization, x-stainless-os"
    answer = await api.post("chat/completions", {"model": "m", "messages": [{"role": "user", "content": "hi"}]}, headers={"origin": PAGE})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    refused = await api.http.get("models", headers={"origin": PAGE, "authorization": "Bearer no"})
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)


@pytest.mark.parametrize("allowed", [[], ["https://other.example.org"]])
async def test_other_pages_may_not(api: Api, settings: Any, allowed: list[str]) -> None:
    settings.CORS_ORIGINS = allowed
    preflight = await api.http.request("OPTIONS", "models", headers={"origin": PAGE, "access-control-request-method": "GET"})
    answer = await api.http.get("models", headers={"origin": PAGE})
    assert "access-control-allow-origin" not in preflight.headers
    assert "access-control-allow-origin" not in answer.headers
