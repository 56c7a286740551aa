"""Each address is requested without a session, by another user, and without a CSRF token (FAULTS 7)."""

from __future__ import annotations

import pytest
from django.test import Client

from tests.security.conftest import WORD, Things, addresses, path_of
from tests.users import Users
from webapp.accounts.models import User

METHODS = ("get", "post", "put", "patch", "delete", "head", "options")
ADDRESSES = addresses()

OPEN = {
    "accounts:start",  # sends people on
    "accounts:login",
    "accounts:logout",
    "accounts:setup",
    "accounts:language",
    "accounts:theme",
    "server:healthz",
    "server:readyz",
    "server:metrics",  # 404 without its token
    "server:csp-report",
    "server:manifest",  # of the installable app
    "toolservers:client_metadata",  # read by authorization servers
    "chat:shared",  # for whoever has its link
    "chat:preview",  # an empty frame, the same for everybody
    "admin:login",
    "admin:logout",
}
WITHOUT_CSRF = {"server:csp-report"}  # browsers send these themselves
OWNED_APPS = {"chat", "batches", "search", "gateway"}
OTHERS_OWN = [a for a in ADDRESSES if a.has_parameters and a.app in OWNED_APPS and a.id not in OPEN]
PERMITTED = [a for a in ADDRESSES if a.app == "admin" and a.id not in OPEN] + [
    a for a in ADDRESSES if a.app == "backends" and a.name in {"check", "offer", "look"}
]


pytestmark = pytest.mark.usefixtures("no_model")


def call(client: Client, method: str, path: str) -> tuple[int, str, bytes]:
    response = getattr(client, method)(path, {"text": "x"} if method == "post" else None)
    content = b"".join(response) if response.streaming and not response.is_async else b"" if response.streaming else response.content
    return response.status_code, response.get("Location", ""), content


def test_every_address_is_looked_at() -> None:
    """A new app or pattern is found by itself; what is open to everybody is named above, and exists."""
    assert len(ADDRESSES) > 100
    assert {a.app for a in ADDRESSES} == {"accounts", "server", "chat", "batches", "search", "backends", "gateway", "toolservers", "admin"}
    assert {a.id for a in ADDRESSES} >= OPEN
    assert len(OTHERS_OWN) > 40


def test_whoever_has_not_signed_in_is_sent_to_do_so_from_every_address(client: Client, things: Things) -> None:
    for address in ADDRESSES:
        if address.id in OPEN:
            continue
        path = path_of(address, things)
        answers = {method: call(client, method, path) for method in METHODS}
        asked = [status for status, location, _ in answers.values() if status == 302 and "/login/?next=" in location]
        assert asked, (address, answers)
        assert all(status in {302, 405} for status, _, _ in answers.values()), (address, answers)
        assert not any(WORD.encode() in content for _, _, content in answers.values()), address


def test_what_is_open_to_everybody_shows_nothing_of_anybody(client: Client, things: Things) -> None:
    for address in ADDRESSES:
        if address.id in OPEN:
            for method in METHODS:
                status, _, content = call(client, method, path_of(address, things))
                assert status < 500, (address, method)
                assert WORD.encode() not in content, address


@pytest.mark.parametrize("name", ["other", "administrator"])
def test_the_things_of_others_do_not_exist_by_any_method(things: Things, users: Users, name: str) -> None:
    """FAULTS 7: an administrator, too, reads nobody's chats."""
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(username=name))
    for address in OTHERS_OWN:
        path = path_of(address, things)
        answers = {method: call(client, method, path) for method in METHODS}
        statuses = {method: status for method, (status, _, _) in answers.items()}
        assert 404 in statuses.values(), (address, statuses)
        assert set(statuses.values()) <= {404, 405}, (address, statuses)
        assert not any(WORD.encode() in content for _, _, content in answers.values()), address


def test_the_owner_reaches_all_of_it(as_owner: Client, things: Things) -> None:
    """The addresses above lead somewhere: what is 404 for others is there for its owner."""
    for address in OTHERS_OWN:
        statuses = {method: call(as_owner, method, path_of(address, things))[0] for method in ("options", "head", "get")}
        assert 404 not in statuses.values(), (address, statuses)
    assert b"<mark>private</mark>-belonging" in call(as_owner, "get", "/chat/find/?q=private")[2]


def test_lists_show_nothing_of_others(as_other: Client, things: Things) -> None:
    """FAULTS 7: nor do pages that take no id."""
    for address in ADDRESSES:
        if not address.has_parameters and address.app != "admin":
            for query in ("", "?q=private", "?q=private&mode=keyword", "?q=private&format=csv"):
                assert WORD.encode() not in call(as_other, "get", address.route + query)[2], (address, query)


def test_configuration_is_for_those_who_may(as_owner: Client, things: Things) -> None:
    for address in PERMITTED:
        path = path_of(address, things)
        for method in METHODS:
            status, location, content = call(as_owner, method, path)
            refused = status in {403, 404, 405} or (status == 302 and location.startswith(("/admin/login/", "/accounts/login/")))
            assert refused, (address, method, status, location)
            assert WORD.encode() not in content


def test_every_post_wants_a_csrf_token(things: Things, users: Users) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(users.administrator)
    for address in ADDRESSES:
        if address.id in WITHOUT_CSRF:
            continue
        for method in ("post", "put", "patch", "delete"):
            status, _, content = call(client, method, path_of(address, things))
            assert status in {403, 404, 405, 302} if method != "post" else status in {403, 405}, (address, method, status)
            if status == 403:
                assert b"This form has expired" in content, address
