"""Signed webhooks at the end of a batch."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from django.utils import timezone

from batches import webhooks
from batches.models import Batch
from tests.batches.conftest import in_thread, line, make_batch, running, until
from tests.upstream import Upstream, status
from webapp.accounts.models import User
from webapp.core.database import DatabaseThread


@pytest.fixture(autouse=True)
def upstreams_of_this_machine(settings: Any) -> None:
    settings.PRIVATE_WEBHOOKS = True


async def run_with_webhook(owner: User, upstream: Upstream) -> Batch:
    """A batch with a webhook, run to its end, and told of."""
    url = upstream.base_url.removesuffix("/v1") + "/v1/completions"
    batch: Batch = await in_thread(make_batch)(owner, [line("a")], webhook_url=url)
    async with running():
        return await until(lambda b: bool(b.webhook_note), batch)


async def test_the_end_of_a_batch_is_told_once_and_signed(owner: User, upstream: Upstream) -> None:
    batch = await run_with_webhook(owner, upstream)
    (received,) = [received for received in upstream.requests if received.path == "/v1/completions"]
    assert received.body["type"] == "batch.completed"
    assert received.body["data"] == {"id": batch.api_id}
    key = base64.b64decode(webhooks.secret(owner).removeprefix("whsec_"))
    signed = f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.raw
    expected = base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()
    assert received.headers["webhook-signature"] == f"v1,{expected}"
    assert (batch.webhook_due_at, batch.webhook_note) == (None, "Delivered.")
    assert json.loads(received.raw)["id"].startswith("evt_")


async def test_a_delivery_that_fails_is_tried_again_later_and_given_up_at_last(owner: User, upstream: Upstream) -> None:
    upstream.script(*[status(500)] * 10, path="/v1/completions")
    batch = await run_with_webhook(owner, upstream)
    assert batch.webhook_due_at is not None
    assert batch.webhook_due_at > timezone.now()
    assert batch.webhook_note == "It answered 500."
    database = DatabaseThread("batches")
    for _ in webhooks.WAITS:
        await Batch.objects.filter(pk=batch.pk).aupdate(webhook_due_at=timezone.now())
        await webhooks.deliver_due(database)
    await database.aclose()
    due_at, note = await Batch.objects.values_list("webhook_due_at", "webhook_note").aget(pk=batch.pk)
    assert (due_at, note) == (None, "Given up. It answered 500.")


def test_each_user_has_a_secret_of_their_own(users: object) -> None:
    owner, other = User.objects.get(username="owner"), User.objects.get(username="other")
    assert webhooks.secret(owner) != webhooks.secret(other)
