"""The live status and usage pages."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.test import Client
from django.utils import timezone
from pytest_django.asserts import assertContains

from tests.users import Users
from webapp.accounts.models import Budget, User
from webapp.backends import services
from webapp.backends.models import Attempt, Backend, Cooldown, Offer, Route
from webapp.backends.runtime import health


def attempt(user: User, **fields: object) -> Attempt:
    values = {
        "request_id": uuid.uuid4(),
        "created_at": timezone.now() - timedelta(hours=1),
        "source": "chat",
        "route": "default",
        "backend": "a",
        "model": "m",
        "outcome": "ok",
        "first_token_ms": 120,
        "prompt_tokens": 1000,
        "completion_tokens": 500,
        "user": user,
        **fields,
    }
    return Attempt.objects.create(**values)


def states(page: str) -> dict[str, str]:
    """data-health by backend name."""
    rows = re.findall(r'data-testid="backend-row" data-health="(\w+)">(.*?)</tr>', page, re.DOTALL)
    return {re.sub(r"<[^>]+>|\s+", " ", row).split()[0]: state for state, row in rows}


def test_every_user_sees_what_is_up(as_owner: Client) -> None:
    for name in ("up", "down", "flagged", "cooling", "off", "fresh"):
        services.add_backend(name=name, base_url=f"http://localhost/{name}")
    for name in ("up", "flagged", "cooling"):
        health.keep(backend=Backend.objects.get(name=name), up=True)
    health.keep(backend=Backend.objects.get(name="down"), up=False, why="Connection refused")
    Backend.objects.filter(name="flagged").update(flagged="wrong key")
    Backend.objects.filter(name="off").update(enabled=False)
    Cooldown.objects.create(key="cooling", until=timezone.now() + timedelta(minutes=1), why="429")
    page = as_owner.get("/backends/").content.decode()
    assert states(page) == {"up": "up", "down": "down", "flagged": "flagged", "cooling": "cooling", "off": "disabled", "fresh": "unknown"}
    assert "Connection refused" in page
    assert "Try now" not in page, "only administrators may"


def test_a_key_is_nowhere_on_the_page(as_administrator: Client) -> None:
    services.add_backend(name="a", base_url="http://localhost/v1", api_key="sk-test-abcdefghijklmnop-7f3d")
    assert "abcdefghijklmnop" not in as_administrator.get("/backends/").content.decode()


def test_the_part_that_changes_is_returned_alone_to_htmx(as_owner: Client) -> None:
    assert b"<html" not in as_owner.get("/backends/", headers={"HX-Request": "true"}).content


def test_a_route_closed_to_the_user_is_not_shown(as_owner: Client, as_other: Client, users: Users) -> None:
    services.seed()
    Route.objects.get(name="default").allowed_users.add(users.owner)
    assert "answers now" in as_owner.get("/backends/").content.decode()
    page = as_other.get("/backends/").content.decode()
    assert "Steps of default" not in page
    assert "builtin/patchbay-builtin" not in page


def test_signed_out_people_are_sent_to_sign_in(client: Client, users: Users) -> None:
    for path in ("/backends/", "/usage/"):
        assert client.get(path).status_code == 302


@pytest.mark.parametrize("path", ["/backends/1/check/", "/backends/offers/1/", "/backends/look/"])
def test_only_administrators_act(as_owner: Client, path: str) -> None:
    assert as_owner.post(path).status_code == 403


def test_an_offer_is_accepted_with_one_click(as_administrator: Client) -> None:
    services.seed()
    Offer.objects.create(name="ollama", preset="ollama", base_url="http://127.0.0.1:9/v1", model_ids=["llama3.1"])
    page = as_administrator.get("/backends/").content.decode()
    assert "http://127.0.0.1:9/v1" in page
    as_administrator.post(f"/backends/offers/{Offer.objects.get().pk}/", {"answer": "accept"})
    assert [str(step) for step in Route.objects.get(name="default").steps.all()] == ["ollama/llama3.1", "builtin/patchbay-builtin"]


def test_usage_adds_up_and_draws(as_administrator: Client, users: Users) -> None:
    for n in range(4):
        attempt(users.owner, first_token_ms=100 * (n + 1), cost="0.002")
    attempt(users.owner, outcome="failed", error="TimedOut", prompt_tokens=0, completion_tokens=0, first_token_ms=None)
    page = as_administrator.get("/usage/?period=24h").content.decode()
    for expected in ("4\u2009000", "2\u2009000", "0.0080", "Too slow", "301 ms", "<rect"):
        assert expected in page, expected


def test_people_see_their_budgets_and_limits_before_they_reach_them(as_other: Client, users: Users) -> None:
    assert b"my-limits" not in as_other.get("/usage/").content
    lab = Group.objects.create(name="<Lab>")
    lab.user_set.add(users.other)
    Budget.objects.create(group=lab, monthly=5, tokens_per_minute=9000)
    Budget.objects.create(user=users.other, requests_per_minute=20)
    page = as_other.get("/usage/").content.decode()
    assert "Of the monthly budget of the group &lt;Lab&gt; (5), 0.0000 is spent." in page
    assert "You may use 20 requests per minute. All members of &lt;Lab&gt; together may use 9,000 tokens per minute." in page


def test_people_see_their_own_usage_only(as_other: Client, users: Users) -> None:
    attempt(users.owner, model="secret-model")
    page = as_other.get(f"/usage/?user={users.owner.username}").content.decode()
    assert "secret-model" not in page
    assert "No usage in this period" in page


def test_filters_narrow_and_nonsense_is_ignored(as_administrator: Client, users: Users) -> None:
    attempt(users.owner, backend="a", prompt_tokens=11)
    attempt(users.owner, backend="b", prompt_tokens=31)
    assertContains(as_administrator.get("/usage/?backend=b"), "<dd>31</dd>", html=True)
    assertContains(as_administrator.get("/usage/?period=nonsense&nothing=1"), "<dd>42</dd>", html=True)
    assert as_administrator.get("/usage/?backend=%00&model=" + "x" * 5000).status_code == 200
