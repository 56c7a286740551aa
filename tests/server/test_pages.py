"""The server's own addresses and error pages."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import httpx2
from django.contrib.staticfiles import finders
from django.test import Client

from tests.live import Live
from tests.machines import Redis
from tests.users import Users
from webapp.templatetags.ui import poll

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"


def test_it_says_that_it_lives(client: Client) -> None:
    assert client.get("/healthz").content == b"ok\n"


def test_it_is_ready_when_the_database_answers(client: Client, db: None) -> None:
    assert client.get("/readyz").json() == {"ready": True, "problems": {}}


def test_it_is_ready_with_redis_though_the_chat_listens_there(new_live: Callable[..., Live], redis: Redis) -> None:
    """channels_redis receives for one listener of a process at a time, and the chat's hub is one: nothing may wait behind it."""
    live = new_live(REDIS_URL=redis.url)
    assert httpx2.get(f"{live.url}/readyz").json() == {"ready": True, "problems": {}}


def test_an_unknown_address_gets_a_page_that_helps(client: Client, users: Users) -> None:
    response = client.get("/nowhere/")
    assert response.status_code == 404
    assert b"There is nothing here" in response.content


def test_the_manifest_makes_it_installable_and_its_icons_are_there(client: Client) -> None:
    response = client.get("/manifest.webmanifest")
    assert response["Content-Type"] == "application/manifest+json"
    data = response.json()
    assert data["start_url"] == "/chat/"
    for icon in data["icons"]:
        assert finders.find(icon["src"].removeprefix("/static/"))


def test_what_asks_by_itself_never_takes_a_page_of_a_failure_for_its_answer() -> None:
    """Else the page for 503 stands in the place of what polled, which then polls no more."""
    polls = re.compile(r"<[^<>]*hx-trigger=\"(?:every|load delay)[^<>]*>")
    found = [tag for path in TEMPLATES.rglob("*.html") for tag in polls.findall(path.read_text())] + [poll("/", 1)]
    assert len(found) >= 5
    assert [tag for tag in found if 'hx-status:5xx="swap:none"' not in tag] == []
