"""Each role may open exactly the addresses that roles.txt lists for it."""

from __future__ import annotations

from http.cookies import SimpleCookie
from pathlib import Path

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import Client
from django.utils import timezone

from tests.security.conftest import Things, addresses, path_of
from tests.users import Users
from webapp.accounts import services
from webapp.accounts.models import Budget, User
from webapp.backends.models import ApiToken, Attempt, BackendModel
from webapp.toolservers.models import ServerCall, ToolServer

LINES = (Path(__file__).parent / "roles.txt").read_text().splitlines()
TABLE = {route: (method, answers) for route, method, *answers in (line.split() for line in LINES if line and not line.startswith("#"))}
"""By path: the method it is asked with, and the answers in the order of ROLES."""
ROLES = ("nobody", "owner", "other", "manager", "administrator")

pytestmark = pytest.mark.usefixtures("no_model")


@pytest.fixture
def clients(users: Users) -> list[Client]:
    """One for each role."""
    services.seed_roles()
    manager = User.objects.create(username="manager")
    services.set_role(user=manager, role="manager")
    clients = [Client(raise_request_exception=False) for _ in ROLES]
    for client, person in zip(clients[1:], (users.owner, users.other, manager, users.administrator), strict=True):
        client.force_login(person)
    return clients


@pytest.fixture
def things(things: Things, users: Users) -> Things:
    """With what the admin has pages for besides."""
    budget = Budget.objects.create(user=users.owner, monthly=1)
    attempt = Attempt.objects.create(user=users.owner, created_at=timezone.now(), source="chat", backend="b", model="m", outcome="ok")
    lab = Group.objects.create(name="Lab")
    more = {"accounts/budget": budget.pk, "backends/attempt": attempt.pk, "auth/group": lab.pk, "accounts/user": users.owner.pk}
    more["toolservers/servercall"] = ServerCall.objects.create(server=ToolServer.objects.get(), tool="t", source="chat", ms=1).pk
    more["backends/apitoken"] = ApiToken.objects.get().pk
    more["backends/backendmodel"] = BackendModel.objects.get(name="m").pk
    return {**things, **{f"/admin/{where}/": {"object_id": pk, "id": pk} for where, pk in more.items()}}


def answer(client: Client, method: str, path: str) -> str:
    """The status, or `login` where one is sent to sign in. What the request did is undone, signing out included."""
    cookies = client.cookies.output(header="", sep=";")
    with transaction.atomic():
        response = client.generic(method, path)
        transaction.set_rollback(True)
    client.cookies = SimpleCookie(cookies)
    asked = response.status_code == 302 and "/login/?next=" in response.headers["Location"]
    return "login" if asked else str(response.status_code)


def test_every_address_has_a_line_in_the_table_and_every_line_an_address() -> None:
    assert sorted(TABLE) == sorted({address.route for address in addresses()})


def test_every_address_answers_every_role_as_the_table_says(things: Things, clients: list[Client]) -> None:
    wrong = []
    for address in addresses():
        path = path_of(address, things)
        method, expected = TABLE[address.route]
        found = [answer(client, method, path) for client in clients]
        wrong += [
            f"{method} {path}: {role} gets {got}, not {want}" for role, got, want in zip(ROLES, found, expected, strict=True) if got != want
        ]
    assert wrong == []
