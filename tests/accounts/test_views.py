"""Sign-in, set-up, profile."""

from __future__ import annotations

from datetime import timedelta

import pytest
from axes.models import AccessAttempt
from django.conf import LazySettings
from django.db.models import F
from django.test import Client
from django.urls import reverse

from tests.users import PASSWORD, Users
from webapp.accounts.forms import SetupForm

LOGIN = "/accounts/login/"


def test_the_start_page_sends_people_on(client: Client, as_owner: Client) -> None:
    assert client.get("/")["Location"] == LOGIN
    assert as_owner.get("/")["Location"] == "/chat/"


@pytest.mark.django_db
def test_without_a_user_the_start_is_the_set_up(client: Client) -> None:
    assert client.get("/")["Location"] == "/accounts/setup/"
    assert b"Open the set-up link" in client.get("/accounts/setup/").content
    assert client.get("/accounts/setup/?token=guess").status_code == 403


def test_what_is_wrong_with_a_password_is_said_where_it_was_entered(db: None) -> None:
    form = SetupForm({"username": "ada", "password1": "12345", "password2": "12345"})
    assert list(form.errors) == ["password1"]


def test_signing_in_replaces_the_session(client: Client, users: Users) -> None:
    """FAULTS 12: a session id from before sign-in is worth nothing afterwards."""
    client.session.save()
    before = client.session.session_key
    response = client.post(LOGIN, {"username": "owner", "password": PASSWORD, "next": "/search/?q=x"})
    assert response["Location"] == "/search/?q=x"
    assert client.session.session_key != before


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_signing_in_never_sends_people_elsewhere(client: Client, users: Users, target: str) -> None:
    assert client.post(LOGIN, {"username": "owner", "password": PASSWORD, "next": target})["Location"] == "/"


def test_guessing_passwords_is_throttled(client: Client, users: Users) -> None:
    """FAULTS 12: by user and address."""
    answers = [client.post(LOGIN, {"username": "owner", "password": f"guess {n}"}).status_code for n in range(11)]
    assert answers[0] == 400
    assert answers[-1] == 429
    AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=4))
    refused = client.post(LOGIN, {"username": "owner", "password": PASSWORD})
    assert (refused.status_code, refused["Retry-After"]) == (429, "360")  # a try meanwhile does not begin the ten minutes anew
    assert b"Try again in 6 minutes." in refused.content
    assert client.post(LOGIN, {"username": "other", "password": PASSWORD}).status_code == 302


def test_behind_the_proxy_guesses_are_counted_by_the_address_that_the_proxy_saw(
    client: Client, users: Users, settings: LazySettings
) -> None:
    """An attacker must not lock out everybody behind the same proxy, nor escape by forging addresses."""
    settings.BEHIND_PROXY = True
    for number in range(10):
        guess = {"username": "owner", "password": f"guess {number}"}
        last = client.post(LOGIN, guess, headers={"x-forwarded-for": f"198.51.100.{number}, 203.0.113.7"})
    assert last.status_code == 429
    right = {"username": "owner", "password": PASSWORD}
    assert client.post(LOGIN, right, headers={"x-forwarded-for": "203.0.113.7"}).status_code == 429
    assert client.post(LOGIN, right, headers={"x-forwarded-for": "203.0.113.8"}).status_code == 302
    assert client.post(LOGIN, right, headers={"x-forwarded-for": "no address"}).status_code == 302


def test_a_suspended_user_cannot_go_on(as_owner: Client, users: Users) -> None:
    """FAULTS 9: the session is refused."""
    users.owner.is_active = False
    users.owner.save()
    assert as_owner.get(reverse("accounts:profile")).status_code == 302


def test_the_profile_is_saved(as_owner: Client, users: Users) -> None:
    form = {"first_name": "<b>Ada</b>", "last_name": "L", "email": "ada@example.org", "system_prompt": "{{7*7}}"}
    assert as_owner.post(reverse("accounts:profile"), form).status_code == 302
    page = as_owner.get(reverse("accounts:profile")).content.decode()
    assert "&lt;b&gt;Ada&lt;/b&gt;" in page
    assert "{{7*7}}" in page


def test_nobody_takes_the_address_of_another_where_it_decides_who_signs_in(as_owner: Client, users: Users, settings: LazySettings) -> None:
    """Single sign-on connects a person to the account with their verified address: it must not be one that they were lured into."""
    settings.OIDC_ISSUER = "https://id.example.org"
    assert as_owner.post(reverse("accounts:profile"), {"first_name": "Ada", "email": "victim@example.org"}).status_code == 302
    users.owner.refresh_from_db()
    assert (users.owner.first_name, users.owner.email) == ("Ada", "")


def test_the_password_is_changed_and_the_session_stays(as_owner: Client, users: Users) -> None:
    new = "another long pass phrase"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert as_owner.post(reverse("accounts:profile"), form).status_code == 302
    assert as_owner.get(reverse("accounts:profile")).status_code == 200
    users.owner.refresh_from_db()
    assert users.owner.check_password(new)


def test_who_signs_in_elsewhere_is_not_asked_for_an_old_password(as_owner: Client, users: Users) -> None:
    assert b"old_password" in as_owner.get("/accounts/profile/").content
    users.owner.set_unusable_password()
    users.owner.save()
    as_owner.force_login(users.owner)
    assert b"old_password" not in as_owner.get("/accounts/profile/").content


def test_the_theme_is_remembered(as_owner: Client) -> None:
    as_owner.post("/accounts/theme/", {"theme": "dark", "next": "/accounts/profile/"})
    assert b'data-theme="dark"' in as_owner.get("/accounts/profile/").content
    as_owner.post("/accounts/theme/", {"theme": '"><script>'})
    assert b'data-theme="auto"' in as_owner.get("/accounts/profile/").content
