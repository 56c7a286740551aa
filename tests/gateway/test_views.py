"""The tokens page."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from tests.users import Users
from webapp.backends.models import ApiToken
from webapp.backends.selectors import token_by_plaintext
from webapp.backends.services import create_token

TOKENS = "/accounts/tokens/"


def form(**fields: Any) -> dict[str, Any]:
    return {"label": "notebook", "scopes": ["chat", "models"], **fields}


def test_a_new_token_is_shown_once_and_works(as_owner: Client, users: Users) -> None:
    response = as_owner.post(TOKENS, form())
    plaintext = response.context["plaintext"]
    assert plaintext.encode() in response.content
    assert response["Cache-Control"].count("no-store")
    token = token_by_plaintext(plaintext)
    assert token is not None
    assert (token.user, token.label, token.scopes, token.expires_at) == (users.owner, "notebook", ["chat", "models"], None)
    assert plaintext.encode() not in as_owner.get(TOKENS).content


def test_limits_and_a_lifetime_are_kept(as_owner: Client, users: Users) -> None:
    as_owner.post(TOKENS, form(lifetime="30", requests_per_minute="60", tokens_per_minute="9000", monthly_budget="12.5"))
    token = ApiToken.objects.get(user=users.owner)
    assert (token.requests_per_minute, token.tokens_per_minute, token.monthly_budget) == (60, 9000, Decimal("12.5"))
    assert token.expires_at is not None
    assert abs(token.expires_at - timezone.now() - timedelta(days=30)) < timedelta(minutes=1)


@pytest.mark.parametrize(
    "fields",
    [
        {"label": ""},
        {"scopes": ["everything"]},
        {"scopes": []},
        {"requests_per_minute": "-1"},
        {"lifetime": "9999"},
        {"monthly_budget": "x"},
    ],
)
def test_a_wrong_form_makes_no_token_and_says_why(as_owner: Client, fields: dict[str, Any]) -> None:
    response = as_owner.post(TOKENS, form(**fields))
    assert response.status_code == 400
    assert b"errorlist" in response.content
    assert not ApiToken.objects.exists()


def test_a_revoked_token_stays_listed_and_is_refused(as_owner: Client, users: Users) -> None:
    token, plaintext = create_token(user=users.owner, label="old")
    assert as_owner.post(f"{TOKENS}{token.pk}/revoke/").status_code == 302
    assert token_by_plaintext(plaintext) is None
    assert b'data-state="revoked"' in as_owner.get(TOKENS).content


def test_the_tokens_of_others_are_neither_listed_nor_revoked(as_other: Client, users: Users) -> None:
    """FAULTS 7."""
    token, plaintext = create_token(user=users.owner, label="private-label")
    assert b"private-label" not in as_other.get(TOKENS).content
    assert as_other.post(f"{TOKENS}{token.pk}/revoke/").status_code == 404
    assert token_by_plaintext(plaintext) is not None


def test_a_label_cannot_carry_markup(as_owner: Client, users: Users) -> None:
    create_token(user=users.owner, label="<img src=x onerror=alert(1)>")
    assert b"<img src=x" not in as_owner.get(TOKENS).content


def test_the_page_is_for_people_who_signed_in(client: Client, users: Users) -> None:
    assert client.get(TOKENS).status_code == 302


def test_the_curl_panel_shows_commands_with_a_placeholder_for_the_token(as_owner: Client) -> None:
    page = as_owner.get(TOKENS).content.decode()
    assert "/v1/chat/completions" in page
    assert "Bearer $PATCHBAY_TOKEN" in page
    assert "/v1/models" in page
