"""Leases: who works on what, for how long, and how a stale worker's write comes to nothing.

A claim raises the fence. Every write names the fence it was claimed with and checks it in its own transaction, so a worker that was stopped
for longer than its lease finds that it lost it, and changes nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Q, QuerySet
from django.utils import timezone

from batches.models import Batch, BatchChunk

LEASE: timedelta = settings.LEASE
HEARTBEAT_SECONDS = LEASE.total_seconds() / 4
Work = TypeVar("Work", Batch, BatchChunk)


class LeaseLost(Exception):
    """Another worker has taken over: what was to be written is not."""


@contextmanager
def durable() -> Generator[None, None, None]:
    """A transaction that survives power loss. SQLite runs at synchronous NORMAL otherwise; PostgreSQL syncs every commit."""
    sqlite = connection.vendor == "sqlite" and not connection.in_atomic_block
    if sqlite:
        _pragma("synchronous=FULL")
    try:
        with transaction.atomic():
            yield
    finally:
        if sqlite:
            _pragma("synchronous=NORMAL")


def _pragma(text: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"PRAGMA {text}")


def this_worker() -> str:
    """A name for this process that no other has, from which its neighbours can see whether it still lives."""
    return f"{socket.gethostname()[:60]}/{os.getpid()}/{_started(os.getpid())}/{secrets.token_hex(4)}"


def _started(pid: int) -> str:
    """When a process started, in clock ticks since boot; empty where the system does not say or there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def is_dead(owner: str) -> bool:
    """Whether `owner` is a process of this machine that is gone for certain."""
    host, _, rest = owner.partition("/")
    pid, _, rest = rest.partition("/")
    started = rest.partition("/")[0]
    if host != socket.gethostname()[:60] or not pid.isdigit() or not started:
        return False
    return _started(int(pid)) != started


_grace_until = 0.0


def database_was_away() -> None:
    """From now on and for as long as a lease lasts, this process takes over nobody's: who holds one could not renew it either."""
    global _grace_until  # noqa: PLW0603 - one database, one process
    _grace_until = time.monotonic() + LEASE.total_seconds()


def free(now: datetime) -> Q:
    """Work that nobody holds."""
    given_back = Q(lease_until=None)
    return given_back if time.monotonic() < _grace_until else given_back | Q(lease_until__lt=now)


def claim(candidates: QuerySet[Work], *, owner: str) -> Work | None:
    """Take the first free row of `candidates`; None when there is none. Races are settled by the fence.

    The update names the row alone: with the joins of `candidates` it would be a subquery, which PostgreSQL does not look at again when
    another's claim was first.
    """
    now = timezone.now()
    while (work := candidates.filter(free(now)).first()) is not None:
        if _held(work).filter(free(now)).update(owner=owner, lease_until=now + LEASE, fence=F("fence") + 1):
            work.owner, work.lease_until, work.fence = owner, now + LEASE, work.fence + 1
            return work
    return None


def _held(work: Batch | BatchChunk) -> QuerySet[Any]:
    """The row behind `work`, as long as its lease is ours."""
    if isinstance(work, Batch):
        return Batch.objects.filter(pk=work.pk, fence=work.fence)
    return BatchChunk.objects.filter(pk=work.pk, fence=work.fence)


def renew(work: Batch | BatchChunk) -> None:
    """Hold on to the lease, inside the caller's transaction or in its own.

    Raises:
        LeaseLost: it was claimed by another meanwhile.
    """
    if not _held(work).update(lease_until=timezone.now() + LEASE):
        raise LeaseLost(str(work))


def release(work: Batch | BatchChunk) -> None:
    """Give the lease back, so that others need not wait for its end."""
    _held(work).update(**_given_back(type(work)))


def release_all(owner: str) -> None:
    """Give back whatever `owner` holds: a claim may have been made for a task that was cancelled while it waited for it."""
    for kind in (Batch, BatchChunk):
        kind._default_manager.filter(owner=owner).update(**_given_back(kind))


def _given_back(kind: type[Batch | BatchChunk]) -> dict[str, Any]:
    """What is written to a row that is free again; a chunk may be handed out again at once."""
    return {"owner": "", "lease_until": None} | ({"sent_at": None} if kind is BatchChunk else {})


def release_the_dead() -> int:
    """Free what processes of this machine held when they were killed, so that a restart goes on at once; returns how much."""
    freed = 0
    for work in (Batch.objects.all(), BatchChunk.objects.all()):
        held = work.exclude(owner="").values_list("owner", flat=True).distinct()
        for owner in [owner for owner in held if is_dead(owner)]:
            freed += work.filter(owner=owner).update(**_given_back(work.model))
    return freed
