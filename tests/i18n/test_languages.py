"""The language of a page, a socket, and a background task."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import AnonymousUser
from django.test import AsyncClient, Client
from django.utils import translation

from tests.users import Users
from webapp.accounts import languages, services
from webapp.core.database import in_database

pytestmark = pytest.mark.django_db
GERMAN_BROWSER = {"Accept-Language": "de-AT,de;q=0.9,en;q=0.5"}


@pytest.fixture(autouse=True)
def english_afterwards() -> Iterator[None]:
    yield
    translation.activate("en")


def test_a_page_is_in_the_language_of_the_browser(client: Client, users: Users) -> None:
    response = client.get("/accounts/login/", headers=GERMAN_BROWSER)
    assert response["Content-Language"] == "de"
    assert '<html lang="de"' in response.content.decode()
    assert {"Accept-Language", "Cookie"} <= set(response["Vary"].split(", "))


def test_a_choice_before_signing_in_is_kept_by_the_browser(client: Client, users: Users) -> None:
    client.post("/accounts/language/", {"language": "ja", "next": "/accounts/login/"})
    assert client.get("/accounts/login/", headers=GERMAN_BROWSER)["Content-Language"] == "ja"


def test_the_users_choice_wins_in_every_browser(client: Client, users: Users) -> None:
    client.force_login(users.owner)
    client.post("/accounts/language/", {"language": "fr"})
    other = Client()
    other.force_login(users.owner)
    assert other.get("/accounts/profile/", headers=GERMAN_BROWSER)["Content-Language"] == "fr"


def test_the_browsers_language_can_be_chosen_again(client: Client, users: Users) -> None:
    client.force_login(users.owner)
    for choice in ("fr", ""):
        client.post("/accounts/language/", {"language": choice})
    assert client.get("/accounts/profile/", headers=GERMAN_BROWSER)["Content-Language"] == "de"


def test_an_unknown_language_is_no_choice(client: Client, users: Users) -> None:
    client.post("/accounts/language/", {"language": "../../etc"})
    assert client.get("/accounts/login/")["Content-Language"] == "en"


def test_an_error_page_names_its_language(client: Client, users: Users) -> None:
    response = client.get("/nowhere/", headers=GERMAN_BROWSER)
    assert response.status_code == 404
    assert '<html lang="de"' in response.content.decode()


def test_health_is_the_same_in_every_language(client: Client) -> None:
    response = client.get("/healthz", headers=GERMAN_BROWSER)
    assert response.content == b"ok\n"
    assert "Content-Language" not in response.headers


@pytest.mark.django_db(transaction=True)
async def test_the_asynchronous_path_knows_the_users_choice(users: Users) -> None:
    await in_database(lambda: services.choose_language(user=users.owner, language="es"))
    client = AsyncClient()
    await client.aforce_login(users.owner)
    assert (await client.get("/accounts/profile/"))["Content-Language"] == "es"


def test_a_socket_speaks_the_language_of_its_user_else_of_its_browser(users: Users) -> None:
    headers = [(b"accept-language", b"zh-CN,zh;q=0.9"), (b"cookie", b"theme=dark; sessionid=1")]
    languages.activate_language_of(users.owner, headers)
    assert translation.get_language() == "zh-hans"
    languages.activate_language_of(AnonymousUser(), [*headers[:1], (b"cookie", b"language=ja")])
    assert translation.get_language() == "ja"
    services.choose_language(user=users.owner, language="de")
    languages.activate_language_of(users.owner, headers)
    assert translation.get_language() == "de"


def test_a_background_task_writes_in_the_language_of_its_owner(users: Users) -> None:
    services.choose_language(user=users.owner, language="de")
    with languages.language_of(users.owner):
        assert translation.get_language() == "de"
    with languages.language_of(None):
        assert translation.get_language() == "en"
