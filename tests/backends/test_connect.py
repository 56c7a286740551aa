"""The page after the set-up: servers on this machine are found and added with one click."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from tests.upstream import Upstream
from webapp.accounts import services as accounts
from webapp.backends import services
from webapp.backends.config import detection
from webapp.backends.models import Backend, Offer, Route


@pytest.mark.django_db
def test_the_set_up_leads_to_connecting_a_model(client: Client) -> None:
    form = {"token": accounts.setup_token(), "username": "ada", "password1": "correct horse battery", "password2": "correct horse battery"}
    assert client.post("/accounts/setup/", form)["Location"] == "/backends/connect/"
    page = client.get("/backends/connect/").content.decode()
    for address in ("localhost:11434", "localhost:1234", "localhost:8080", "localhost:8000"):
        assert address in page


@pytest.mark.django_db(transaction=True)
def test_a_found_server_is_used_with_one_click(
    make_upstream: Callable[..., Upstream], as_administrator: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.seed()
    upstream = make_upstream()
    monkeypatch.setattr(detection, "addresses", lambda: [("ollama", upstream.base_url)])
    page = as_administrator.post("/backends/connect/found/").content.decode()
    assert "found-server" in page
    response = as_administrator.post(f"/backends/offers/{Offer.objects.get().pk}/", {"answer": "accept", "next": "chat"})
    assert response["Location"] == "/chat/"
    assert str(Route.objects.get(name="default").steps.first()).startswith("ollama/")
    assert Backend.objects.get(name="ollama").base_url == upstream.base_url
    assert "nothing-found" in as_administrator.post("/backends/connect/found/").content.decode()
