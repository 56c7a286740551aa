"""Addresses that users enter, in every notation: the server calls only those that it may (FAULTS 14)."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from batches import webhooks
from batches.models import Batch
from tests.batches.conftest import in_thread, line, make_batch
from tests.upstream import Upstream
from tests.users import Users
from webapp.backends.models import Backend
from webapp.core.database import DatabaseThread
from webapp.patterns.errors import InputError

METADATA = (
    "http://169.254.169.254/latest/meta-data",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0251.0376.0251.0376/",
    "http://0xa9.0xfe.43518/",
    "http://169.254.43518/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[fe80::1%25eth0]/",
    "http://[fd00:ec2::254]/",
    "http://metadata.google.internal/",
    "http://METADATA.google.internal./",
    "http://100.100.100.200/",
    "http://user@169.254.169.254/",
    "http://169.254.169.254:80/",
    "http://１６９.254.169.254/",
    "http://169。254。169。254/",
)
INSIDE = (
    "http://127.0.0.1:8000/admin/",
    "http://localhost:6379/",
    "http://LOCALHOST./",
    "http://2130706433/",
    "http://0x7f.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://[::]/",
    "http://[::1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::127.0.0.1]/",
    "http://10.0.0.1/",
    "http://192.168.1.1/",
    "http://172.16.0.1/",
    "http://100.64.0.1/",
    "http://[fd12:3456::1]/",
    "http://[2002:7f00:1::]/",
    "http://[64:ff9b::7f00:1]/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
)


@pytest.mark.django_db
@pytest.mark.parametrize("url", METADATA)
def test_no_form_and_no_command_takes_a_metadata_address(as_administrator: Client, url: str) -> None:
    """FAULTS 14: in the admin's form, in a pasted curl command, and by `add_backend`."""
    form = {"name": "x", "preset": "custom", "base_url": url, "headers": "{}", "position": "1", "enabled": "on"}
    form |= {"connect_timeout": "5", "first_token_timeout": "60", "idle_timeout": "60"}
    form |= {f"offered-{name}": "0" for name in ("TOTAL_FORMS", "INITIAL_FORMS")}
    response = as_administrator.post("/admin/backends/backend/add/", form)
    assert response.context["adminform"].form.errors["base_url"]
    response = as_administrator.post("/admin/backends/backend/paste/", {"command": f"curl '{url}v1/chat/completions' -d '{{}}'"})
    assert response.status_code == 400
    with pytest.raises((CommandError, InputError)):
        call_command("add_backend", "--name", "x", "--base-url", url)
    assert not Backend.objects.exists()


@pytest.mark.django_db
@pytest.mark.parametrize("url", [*METADATA, *INSIDE])
def test_no_webhook_leads_into_the_network_that_the_server_stands_in(users: Users, url: str) -> None:
    """FAULTS 14: private networks are for administrators to enter; webhooks are entered by everybody."""
    with pytest.raises(InputError, match="webhook"):
        make_batch(users.owner, [line("a")], webhook_url=url)


@pytest.mark.django_db(transaction=True)
async def test_a_name_that_leads_inside_is_not_called(users: Users, upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAULTS 14: by DNS."""

    async def resolve(host: str, port: int) -> list[str]:
        return ["127.0.0.1"]

    monkeypatch.setattr("webapp.patterns.http.transport.resolve", resolve)
    url = f"http://hooks.example:{upstream.port}/v1/completions"
    batch: Batch = await in_thread(make_batch)(users.owner, [line("a")], webhook_url=url)
    note = await webhooks._post(await Batch.objects.select_related("user").aget(pk=batch.pk))
    assert note == "It could not be reached (ForbiddenAddress)."
    assert upstream.requests == []
    await DatabaseThread("batches").aclose()
