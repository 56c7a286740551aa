"""The configuration admin: what an administrator sets up, and what it never shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from tests.upstream import Upstream, closed_port, says
from tests.users import Users
from webapp.backends import services
from webapp.backends.models import Backend, BenchmarkRun, Cooldown, ProbeRun, Route

MakeUpstream = Callable[..., Upstream]
KEY = "sk-test-abcdefghijklmnop-7f3d"
ADD = "/admin/backends/backend/add/"


def form(page: str) -> dict[str, str]:
    """The fields of the page's main form as a browser would send them back."""
    inside = re.search(r'<form[^>]*id="\w+_form".*?</form>', page, re.DOTALL)
    assert inside
    fields: dict[str, str] = {}
    for tag in re.findall(r"<input [^>]*>", inside[0]):
        attributes = dict(re.findall(r'([\w-]+)="([^"]*)"', tag))
        if attributes.get("type") in {"submit", "button"} or (attributes.get("type") == "checkbox" and " checked" not in tag):
            continue
        fields[attributes["name"]] = attributes.get("value", "on" if attributes.get("type") == "checkbox" else "")
    for name, inner in re.findall(r'<select [^>]*name="([^"]+)".*?>(.*?)</select>', inside[0], re.DOTALL):
        chosen = re.search(r'<option value="([^"]*)" selected', inner)
        fields[name] = chosen[1] if chosen else ""
    for name, text in re.findall(r'<textarea [^>]*name="([^"]+)"[^>]*>(.*?)</textarea>', inside[0], re.DOTALL):
        fields[name] = text.strip()
    return {name: value for name, value in fields.items() if "__prefix__" not in name}


def save(client: Client, path: str, **changes: Any) -> Any:
    """Open a form, change fields, send it."""
    page = client.get(path).content.decode()
    return client.post(path, {**form(page), **changes})


@pytest.mark.django_db(transaction=True)
def test_a_backend_is_added_by_its_preset_and_its_models_are_found(make_upstream: MakeUpstream, as_administrator: Client) -> None:
    services.seed()
    upstream = make_upstream()
    upstream.models = [{"id": "llama3.1:8b"}, {"id": "nomic-embed-text"}]
    assert "http://localhost:11434/v1" in as_administrator.get(f"{ADD}?preset=ollama").content.decode()
    response = save(as_administrator, f"{ADD}?preset=ollama", base_url=upstream.base_url, api_key=KEY)
    assert response.status_code == 302, response.content.decode()
    backend = Backend.objects.get(name="ollama")
    assert backend.api_key.reveal() == KEY
    assert [row.name for row in backend.offered.all()] == ["llama3.1:8b", "nomic-embed-text"]
    assert [str(step) for step in Route.objects.get(name="default").steps.all()] == ["ollama/llama3.1:8b", "builtin/patchbay-builtin"]
    assert LogEntry.objects.filter(object_repr="ollama").exists()


@pytest.mark.django_db
def test_the_list_shows_what_cools_and_asks_for_that_once(as_administrator: Client) -> None:
    for name in ("one", "two", "three"):
        services.add_backend(name=name, base_url=f"http://localhost/{name}")
    Cooldown.objects.create(key="two", until=timezone.now() + timedelta(minutes=1), why="429")
    with CaptureQueriesContext(connection) as asked:
        page = as_administrator.get("/admin/backends/backend/").content.decode()
    assert page.count("Cooling down") == 1
    assert sum("backends_cooldown" in query["sql"] for query in asked) == 1


@pytest.mark.django_db(transaction=True)
def test_a_stored_key_is_shown_as_its_last_four_and_kept_when_left_empty(as_administrator: Client) -> None:
    backend = services.add_backend(name="a", base_url=f"http://127.0.0.1:{closed_port()}/v1", api_key=KEY)
    path = f"/admin/backends/backend/{backend.pk}/change/"
    page = as_administrator.get(path).content.decode()
    assert "…7f3d" in page
    assert "abcdefghijklmnop" not in page
    assert save(as_administrator, path, idle_timeout="7").status_code == 302
    stored = Backend.objects.get()
    assert (stored.api_key.reveal(), stored.idle_timeout) == (KEY, 7)


@pytest.mark.django_db(transaction=True)
def test_a_key_does_not_go_to_another_server_unless_it_is_typed_again(as_administrator: Client) -> None:
    backend = services.add_backend(name="a", base_url="http://127.0.0.1:9/v1", api_key=KEY)
    path = f"/admin/backends/backend/{backend.pk}/change/"
    refused = save(as_administrator, path, base_url="http://evil.example/v1")
    assert "Enter that server" in refused.content.decode()
    assert save(as_administrator, path, base_url="http://127.0.0.1:8/v1", forget_key="on").status_code == 302
    assert not Backend.objects.get().api_key


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("url", ["http://169.254.169.254/v1", "http://2852039166/v1", "ftp://x/v1", "http://u:p@h/v1"])
def test_addresses_that_no_backend_may_have_are_refused(as_administrator: Client, url: str) -> None:
    """FAULTS 14."""
    assert save(as_administrator, ADD, name="a", base_url=url).status_code == 200
    assert not Backend.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_pasted_curl_command_becomes_a_backend(make_upstream: MakeUpstream, as_administrator: Client) -> None:
    upstream = make_upstream()
    command = f"""curl {upstream.base_url}/chat/completions -H 'Authorization: Bearer {KEY}' -H 'X-Team: blue' \\
      -d '{{"model": "mixtral", "messages": []}}'"""
    response = as_administrator.post("/admin/backends/backend/paste/", {"command": command})
    backend = Backend.objects.get()
    assert response.url == f"/admin/backends/backend/{backend.pk}/change/"  # type: ignore[attr-defined] # a redirect
    assert (backend.api_key.reveal(), backend.headers) == (KEY, {"X-Team": "blue"})
    assert {row.name for row in backend.offered.all()} == {"mixtral", "m"}


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["", "rm -rf /", "curl", "curl http://169.254.169.254/v1/models", "curl 'http://h/v1/models", "\0"])
def test_what_is_no_usable_curl_command_is_refused_with_its_reason(as_administrator: Client, command: str) -> None:
    response = as_administrator.post("/admin/backends/backend/paste/", {"command": command})
    assert response.status_code == 400
    assert 'role="alert"' in response.content.decode()
    assert not Backend.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_the_test_button_runs_a_probe_and_shows_its_evidence(make_upstream: MakeUpstream, as_administrator: Client) -> None:
    upstream = make_upstream()
    upstream.default = says("OK <script>alert(1)</script>")
    backend = services.add_backend(name="a", base_url=upstream.base_url)
    run, thread = services.start_probe(backend=backend, model="m", user=None)
    thread.join(30)
    page = as_administrator.get(f"/admin/backends/backend/{backend.pk}/test/{run.pk}/").content.decode()
    assert "Reach and list models" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page, "FAULTS 5"
    response = as_administrator.post(f"/admin/backends/backend/{backend.pk}/test/", {"model": "m"})
    assert response.status_code == 302
    assert ProbeRun.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_benchmark_is_started_from_its_form_and_its_page_shows_it(make_upstream: MakeUpstream, as_administrator: Client) -> None:
    services.add_backend(name="a", base_url=make_upstream().base_url)
    refused = save(as_administrator, "/admin/backends/benchmarkrun/add/", target="a/m", concurrency="200", rounds="500")
    assert "more than 2000 requests" in refused.content.decode()
    run, thread = services.start_benchmark(target="a/m", concurrency=1, max_tokens=8, rounds=2, user=None)
    thread.join(30)
    page = as_administrator.get(f"/admin/backends/benchmarkrun/{run.pk}/change/").content.decode()
    assert 'data-status="done"' in page
    assert "<polyline" in page
    response = save(as_administrator, "/admin/backends/benchmarkrun/add/", target="a/m", concurrency="1", rounds="1")
    newest = BenchmarkRun.objects.first()
    assert newest
    assert response.url == f"/admin/backends/benchmarkrun/{newest.pk}/change/"
    as_administrator.post(f"/admin/backends/benchmarkrun/{newest.pk}/cancel/")


@pytest.mark.django_db
@pytest.mark.parametrize(
    "path",
    [
        "/admin/",
        "/admin/backends/backend/",
        ADD,
        "/admin/backends/backend/paste/",
        "/admin/backends/route/",
        "/admin/backends/attempt/",
        "/admin/backends/benchmarkrun/",
        "/admin/backends/benchmarkrun/add/",
        "/admin/backends/apitoken/",
        "/admin/accounts/user/",
        "/admin/auth/group/",
        "/admin/backends/attempt/?backend=x&outcome=ok",
    ],
)
def test_every_page_of_the_admin_opens_in_the_products_looks_for_staff_alone(users: Users, path: str) -> None:
    services.seed()
    client = Client()
    client.force_login(users.administrator)
    page = client.get(path)
    assert page.status_code == 200
    text = page.content.decode()
    assert "css/patchbay.css" in text
    assert "admin/css/base.css" not in text
    assert " style=" not in text, "the content security policy forbids it"
    client.force_login(users.owner)
    assert client.get(path, follow=True).status_code == 403
    client.logout()
    assert client.get(path, follow=True).redirect_chain[-1][0].startswith("/accounts/login/?next=/admin/")


@pytest.mark.django_db
def test_who_may_only_look_is_offered_nothing_to_do(users: Users) -> None:
    backend = services.add_backend(name="a", base_url="http://127.0.0.1:9/v1", api_key=KEY)
    users.owner.is_staff = True
    users.owner.save()
    users.owner.user_permissions.set(Permission.objects.filter(codename__in=["view_backend", "view_route"]))
    client = Client()
    client.force_login(users.owner)
    page = client.get(f"/admin/backends/backend/{backend.pk}/change/").content.decode()
    assert "abcdefghijklmnop" not in page
    assert "Refresh models" not in page
    for path in ("paste", f"{backend.pk}/test", f"{backend.pk}/try", f"{backend.pk}/refresh"):
        assert client.post(f"/admin/backends/backend/{path}/").status_code == 403


def test_tokens_are_filtered_by_the_first_users_that_have_some_and_the_chosen_one(as_administrator: Client, users: Users) -> None:
    services.create_token(user=users.owner, label="mine")
    services.create_token(user=users.other, label="theirs")
    everyone = as_administrator.get("/admin/backends/apitoken/").content.decode()
    assert "?user=owner" in everyone
    assert "?user=administrator" not in everyone
    mine = as_administrator.get("/admin/backends/apitoken/?user=owner").content.decode()
    assert "mine …" in mine
    assert "theirs …" not in mine
