"""The pages of tool servers and the command that adds one."""

from __future__ import annotations

import json
import sys
import uuid
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client, override_settings
from django.urls import reverse

from tests.tool_server import McpServer
from tests.users import Users
from webapp.toolservers import selectors, services
from webapp.toolservers.models import ServerCall, ServerTool, ToolServer

FORM = {"enabled": "on", "on_by_default": "on", "call_seconds": "30", "result_chars": "5000", "max_calls": "5"}


@pytest.fixture
def administrator(users: Users, client: Client) -> Client:
    client.force_login(users.administrator)
    return client


def add(name: str, *arguments: str, command: list[str] | None = None) -> tuple[int, str]:
    out, err = StringIO(), StringIO()
    call_command("add_tool_server", "--name", name, *arguments, *(["--", *command] if command else []), stdout=out, stderr=err)
    return int(out.getvalue()), err.getvalue()


def test_a_server_by_address_is_added_by_the_command(users: Users, remote: McpServer) -> None:
    pk, said = add("trial", "--url", remote.url, "--header", "X-Key: secret-value")
    server = ToolServer.objects.get(pk=pk)
    assert f"{server.tools.count()} tools found" in said
    assert remote.headers["x-key"] == "secret-value"
    assert "secret-value" not in str(ToolServer.objects.filter(pk=pk).values())
    assert json.loads(server.headers.reveal()) == {"X-Key": "secret-value"}
    assert add("trial", "--url", remote.url)[0] == pk
    assert ToolServer.objects.get(pk=pk).headers.reveal() != ""


def test_a_server_by_command_is_added_by_the_command(users: Users) -> None:
    pk, said = add("local", command=[sys.executable, "-m", "tests.tool_server"])
    assert ToolServer.objects.get(pk=pk).tools.filter(name="add").exists(), said


BAD: list[tuple[str, ...]] = [
    (),
    ("--url", "ftp://x"),
    ("--url", "http://169.254.169.254/mcp"),
    ("--url", "http://u:p@x/mcp"),
    ("--url", "http://x", "--header", "Host: y"),
]


@pytest.mark.parametrize("arguments", BAD)
def test_what_cannot_be_a_server_is_refused(users: Users, arguments: tuple[str, ...]) -> None:
    with pytest.raises(CommandError):
        add("bad", *arguments)
    assert not ToolServer.objects.exists()


def test_a_server_that_does_not_answer_is_kept_with_its_error(users: Users) -> None:
    pk, said = add("gone", "--url", "http://127.0.0.1:9/mcp")
    assert "could not be listed" in said
    assert ToolServer.objects.get(pk=pk).error


def test_an_administrator_adds_a_server_and_sets_approvals(administrator: Client, remote: McpServer) -> None:
    answer = administrator.post("/tools/new/", {**FORM, "name": "trial", "url": remote.url, "headers": "X-Key: v"})
    server = ToolServer.objects.get()
    assert answer.headers["location"] == f"/tools/{server.pk}/"
    assert (server.call_seconds, server.owner_id) == (30, None)
    tool = server.tools.get(name="note")
    administrator.post(f"/tools/{server.pk}/", {f"approval.{tool.pk}": "always"})
    assert ServerTool.objects.get(pk=tool.pk).approval == "always"
    ServerCall.objects.create(server=server, tool="note", source="chat", ms=1234, error="It failed.")
    page = administrator.get(f"/tools/{server.pk}/").content.decode()
    assert "It failed." in page
    assert "X-Key" in page
    assert 'data-name="trial"' in administrator.get("/tools/").content.decode()
    administrator.post(f"/tools/{server.pk}/edit/", {**FORM, "url": remote.url, "max_calls": "7"})
    assert ToolServer.objects.get().max_calls == 7
    administrator.post(f"/tools/{server.pk}/check/")
    administrator.post(f"/tools/{server.pk}/delete/")
    assert not ToolServer.objects.exists()


def test_others_see_shared_servers_and_change_nothing(users: Users, client: Client) -> None:
    server = services.add_server(name="shared", url="http://127.0.0.1:9/mcp")
    client.force_login(users.owner)
    assert client.get(f"/tools/{server.pk}/").status_code == 200
    for path in ("", "edit/", "check/", "delete/", "sign-in/"):
        assert client.post(f"/tools/{server.pk}/{path}", FORM).status_code == 403
    assert client.get("/tools/new/").status_code == 403
    assert ToolServer.objects.exists()


def test_a_server_of_ones_own_does_not_exist_for_others(users: Users, client: Client) -> None:
    with override_settings(TOOL_SERVER_HOSTS=["*"], PRIVATE_WEBHOOKS=True):
        server = services.add_server(name="mine", url="http://127.0.0.1:9/mcp", owner=users.owner)
    for person in (users.other, users.administrator):
        client.force_login(person)
        for path in ("", "edit/", "check/", "delete/", "sign-in/"):
            assert client.post(f"/tools/{server.pk}/{path}").status_code == 404
        assert "mine" not in client.get("/tools/").content.decode()
        assert selectors.by_label(person, "mine") is None
    client.force_login(users.owner)
    assert client.get(f"/tools/{server.pk}/").status_code == 200


def test_users_add_their_own_only_where_it_is_allowed(users: Users, client: Client) -> None:
    client.force_login(users.owner)
    with override_settings(TOOL_SERVER_HOSTS=["mcp.example.com"]):
        page = client.post("/tools/new/", {**FORM, "name": "a", "url": "https://elsewhere.example/mcp"}).content.decode()
        assert "has not allowed" in page
        inside = client.post("/tools/new/", {**FORM, "name": "a", "url": "http://127.0.0.1/mcp"}).content.decode()
        assert "not a public address" in inside
        assert 'name="command"' not in client.get("/tools/new/").content.decode()
    assert not ToolServer.objects.exists()


def test_a_new_address_forgets_the_secrets_of_the_old_one(users: Users) -> None:
    services.add_server(name="moved", url="https://one.example/mcp", headers={"Authorization": "Bearer x"})
    server = services.add_server(name="moved", url="https://two.example/mcp")
    assert not server.headers


def test_a_preset_fills_the_form(administrator: Client) -> None:
    assert "https://mcp.context7.com/mcp" in administrator.get("/tools/new/?preset=context7").content.decode()


def test_the_log_of_calls_leads_to_the_attempts_of_the_same_answer(administrator: Client) -> None:
    server = services.add_server(name="shared", url="http://127.0.0.1:9/mcp")
    of_answer = uuid.uuid4()
    ServerCall.objects.create(server=server, tool="note", source="chat", ms=1234, request_id=of_answer)
    ServerCall.objects.create(server=server, tool="other", source="responses", ms=5, error="It failed.")
    attempts = f"{reverse('admin:backends_attempt_changelist')}?q={of_answer}"
    log = reverse("admin:toolservers_servercall_changelist")
    everything = administrator.get(log).content.decode()
    assert attempts in everything
    assert "It failed." in everything
    one = administrator.get(log, {"q": str(of_answer)}).content.decode()
    assert "note" in one
    assert "It failed." not in one
    assert administrator.get(log, {"q": "failed"}).status_code == 200
    assert administrator.get(f"{log}add/").status_code == 403
    assert attempts in administrator.get(f"/tools/{server.pk}/").content.decode()
