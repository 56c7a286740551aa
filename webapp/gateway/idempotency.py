"""Answer a POST with a known Idempotency-Key with the first one's reply, so that nothing is done twice.

The work and its reply are committed in one transaction: `Caller.record` is called inside the transaction that creates the object. A process
that is killed before that commit leaves nothing behind, and one that is killed after it leaves the reply.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus

import jiter
from django.db import IntegrityError, transaction
from django.utils import timezone

from webapp.core.database import in_database
from webapp.gateway.auth import Principal
from webapp.gateway.http import Call, dump
from webapp.gateway.models import IdempotentReply
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError, Caller

MAX_KEY_CHARS = 255
KEPT = timedelta(hours=24)
ABANDONED = timedelta(minutes=10)
"""Time after which an unfinished record belongs to a dead process."""


async def once(call: Call, principal: Principal, fingerprint: str, work: Callable[[Caller], Awaitable[Json]]) -> Json:
    """Return the result of `work`, or the recorded one for a key that was used before. A failure frees the key.

    Raises:
        ApiError: the key is too long (400), in use or used for another request (409).
    """
    key = call.header("idempotency-key")
    if not key:
        return await work(principal.caller)
    if len(key) > MAX_KEY_CHARS:
        raise ApiError(400, f"An Idempotency-Key has at most {MAX_KEY_CHARS} characters.", code="invalid_idempotency_key")
    row = await in_database(_claim, principal.user.pk, call.path, key, fingerprint)
    if row.status is not None:
        call.extra_headers["idempotent-replayed"] = "true"
        return dict(jiter.from_json(row.body.encode()))
    mine = IdempotentReply.objects.filter(pk=row.pk)
    try:
        return await work(replace(principal.caller, record=lambda body: _record(row.pk, body)))
    except BaseException:
        await in_database(mine.filter(status=None).delete)
        raise


def fingerprint_of(body: Json) -> str:
    """Return the fingerprint of a request."""
    return hashlib.sha256(dump(body)).hexdigest()


def _record(pk: int, body: Json) -> None:
    """Store the reply in the transaction of its work."""
    IdempotentReply.objects.filter(pk=pk).update(status=HTTPStatus.OK, body=dump(body).decode())


def _claim(user_id: int, path: str, key: str, fingerprint: str) -> IdempotentReply:
    """Return the finished reply for the key, or a row for this process to finish.

    Raises:
        ApiError: 409, the key is in progress or belongs to another request.
    """
    now = timezone.now()
    rows = IdempotentReply.objects.filter(user_id=user_id, path=path, key=key)
    rows.filter(created_at__lt=now - KEPT).delete()
    rows.filter(status=None, created_at__lt=now - ABANDONED).delete()
    try:
        with transaction.atomic():
            return IdempotentReply.objects.create(user_id=user_id, path=path, key=key, fingerprint=fingerprint)
    except IntegrityError:
        row = rows.get()
    if row.fingerprint != fingerprint:
        raise ApiError(409, "This Idempotency-Key was used for another request.", code="idempotency_key_reused")
    if row.status is None:
        raise ApiError(409, "A request with this Idempotency-Key is in progress.", code="idempotency_in_progress")
    return row


def purge() -> None:
    """Delete replies past their lifetime."""
    IdempotentReply.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
