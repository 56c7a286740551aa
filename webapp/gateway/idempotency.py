"""Idempotency-Key: a POST that is sent again gets the first one's answer, and nothing is done twice."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable
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
from webapp.ports.files_and_batches import ApiError

MAX_KEY_CHARS = 255
KEPT = timedelta(hours=24)
ABANDONED = timedelta(minutes=10)
"""After this long an answer that is still being worked out belongs to a process that died."""


async def once(call: Call, principal: Principal, fingerprint: str, work: Callable[[], Awaitable[Json]]) -> Json:
    """What `work` returns; for a key that was used before, what it returned then. A failure frees the key."""
    key = call.header("idempotency-key")
    if not key:
        return await work()
    if len(key) > MAX_KEY_CHARS:
        raise ApiError(400, f"An Idempotency-Key has at most {MAX_KEY_CHARS} characters.", code="invalid_idempotency_key")
    row = await in_database(_claim, principal.user.pk, call.path, key, fingerprint)
    if row.status is not None:
        call.extra_headers["idempotent-replayed"] = "true"
        return dict(jiter.from_json(row.body.encode()))
    try:
        body = await work()
    except BaseException:
        await in_database(row.delete)
        raise
    row.status, row.body = HTTPStatus.OK, dump(body).decode()
    await in_database(row.save)
    return body


def fingerprint_of(body: Json) -> str:
    """The same for the same request."""
    return hashlib.sha256(dump(body)).hexdigest()


def _claim(user_id: int, path: str, key: str, fingerprint: str) -> IdempotentReply:
    """The finished reply for the key, or a row that is now ours to finish; raises a 409 for one in progress or for another request."""
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
    """Forget replies that nobody will ask for again."""
    IdempotentReply.objects.filter(created_at__lt=timezone.now() - KEPT).delete()
