"""Notify another program of the end of a batch: a signed POST as in Standard Webhooks, retried with growing pauses."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import logging
import time
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from batches.models import Batch
from webapp.accounts.models import User
from webapp.core.database import DatabaseThread
from webapp.patterns.errors import PatternError

logger = logging.getLogger("patchbay.batches")
TIMEOUT_SECONDS = 10.0
WAITS = (5, 60, 600, 3600, 6 * 3600)
"""Seconds before each retry."""


def secret(user: User) -> str:
    """Return the user's signing secret, in the form that verifying libraries expect."""
    key = hmac.digest(settings.SECRET_KEY.encode(), f"webhook:{user.pk}".encode(), "sha256")
    return f"whsec_{base64.b64encode(key).decode()}"


def signature(user: User, *, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` header of a message."""
    key = base64.b64decode(secret(user).removeprefix("whsec_"))
    signed = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, hashlib.sha256)
    return f"v1,{base64.b64encode(signed).decode()}"


def message(batch: Batch) -> bytes:
    """Return the event object, as in OpenAI's webhooks."""
    event = {
        "id": f"evt_{batch.id.hex}",
        "object": "event",
        "type": f"batch.{batch.status}",
        "created_at": int((batch.ended_at or timezone.now()).timestamp()),
        "data": {"id": batch.api_id},
    }
    return json.dumps(event).encode()


async def deliver_due(database: DatabaseThread) -> None:
    """Deliver the due events concurrently. A failed delivery is due again later and delays no other one."""
    batches = await database.run(_due)
    notes = await asyncio.gather(*(_post(batch) for batch in batches))
    for batch, note in zip(batches, notes, strict=True):
        await database.run(_settle, batch, note)


def _due() -> list[Batch]:
    """Return batches with due webhooks. Each is postponed first, so that no other process sends it too."""
    now = timezone.now()
    taken = []
    for batch in Batch.objects.filter(webhook_due_at__lte=now).select_related("user")[:20]:
        pause = timedelta(seconds=WAITS[min(batch.webhook_attempts, len(WAITS) - 1)])
        mine = Batch.objects.filter(pk=batch.pk, webhook_due_at=batch.webhook_due_at)
        if mine.update(webhook_due_at=now + pause, webhook_attempts=batch.webhook_attempts + 1):
            batch.webhook_attempts += 1
            taken.append(batch)
    return taken


async def _post(batch: Batch) -> str:
    """Send the event once; return the error, or empty text."""
    import httpx2

    from webapp.patterns.http.transport import make_transport

    body, now, message_id = message(batch), int(time.time()), f"msg_{batch.id.hex}"
    headers = {
        "content-type": "application/json",
        "webhook-id": message_id,
        "webhook-timestamp": str(now),
        "webhook-signature": signature(batch.user, message_id=message_id, timestamp=now, body=body),
    }
    try:
        async with httpx2.AsyncClient(
            transport=make_transport(batch.webhook_url, public=not settings.PRIVATE_WEBHOOKS),
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
        ) as client:
            response = await client.post(batch.webhook_url, content=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, PatternError, OSError, ValueError) as error:
        return f"It could not be reached ({type(error).__name__})."
    except Exception as error:  # a library's own refusal of this address must not stop the deliveries of other users
        logger.exception("The webhook of batch %s could not be sent", batch.api_id)
        return f"It could not be sent ({type(error).__name__})."
    return "" if response.is_success else f"It answered {response.status_code}."


def _settle(batch: Batch, note: str) -> None:
    if not note:
        Batch.objects.filter(pk=batch.pk).update(webhook_due_at=None, webhook_note="Delivered.")
    elif batch.webhook_attempts > len(WAITS):
        Batch.objects.filter(pk=batch.pk).update(webhook_due_at=None, webhook_note=f"Given up. {note}")
    else:
        Batch.objects.filter(pk=batch.pk).update(webhook_note=note)
    if note:
        logger.warning("webhook of batch %s: %s", batch.api_id, note)
