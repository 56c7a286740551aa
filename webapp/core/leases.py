"""Lease rows to one worker at a time, with a fencing token against stale writers.

A leased model has three fields: `owner` (text), `lease_until` (date and time, or null) and `fence` (integer). A claim raises the fence.
Every write checks the fence that it was claimed with in its own transaction. A worker that was paused for longer than its lease thus finds
that it lost the lease, and changes nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Callable, Generator, Hashable, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Model, Q, QuerySet
from django.utils import timezone

LEASE: timedelta = settings.LEASE
HEARTBEAT_SECONDS = LEASE.total_seconds() / 4


Work = TypeVar("Work", bound=Model)
K = TypeVar("K", bound=Hashable)


class LeaseLost(Exception):
    """Say that another worker has taken over, so nothing was written."""


@contextmanager
def durable() -> Generator[None, None, None]:
    """Open a transaction that survives power loss: SQLite otherwise runs at synchronous NORMAL. PostgreSQL syncs every commit."""
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
    """Return a unique name for this worker, from which other processes of this machine can tell whether it is alive."""
    return f"{machine()}/{os.getpid()}/{process_start(os.getpid())}/{secrets.token_hex(4)}"


@cache
def machine() -> str:
    """Return a name for what shares this process's table of processes: this boot of this host, or one container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        table = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        boot = table = ""
    return f"{socket.gethostname()[:40]}-{boot}-{table}"


def process_start(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty where there is no such process or no `/proc`."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return stat.rpartition(")")[2].split()[19]


def is_dead(owner: str) -> bool:
    """Return whether `owner` is a process of this machine that has certainly ended."""
    host, _, rest = owner.partition("/")
    pid, _, rest = rest.partition("/")
    started = rest.partition("/")[0]
    if host != machine() or not pid.isdigit() or not started:
        return False
    return process_start(int(pid)) != started


class SilenceWatch(Generic[K]):
    """Find holders whose sign of life has not changed for some time.

    The time is that of this process's monotonic clock. The wall clocks of machines differ, and one that is set back would keep a dead
    holder alive for as long. A watch that did not look for a while begins anew: this process slept, or the database was away, and the
    holders could not give a sign.

    Args:
        seconds: silence after which a holder counts as dead.
        gap: seconds between two looks after which the watch begins anew.
        clock: returns seconds, as `time.monotonic` does.
    """

    def __init__(self, seconds: float, *, gap: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._gap, self._clock = seconds, gap, clock
        self._looked = float("-inf")
        self._seen: dict[K, tuple[object, float]] = {}

    def silent(self, signs: Mapping[K, object]) -> list[K]:
        """Return the holders that have been silent for too long; `signs` has the present sign of each."""
        now = self._clock()
        before = self._seen if now - self._looked <= self._gap else {}
        self._looked = now
        self._seen = {
            holder: before[holder] if holder in before and before[holder][0] == sign else (sign, now) for holder, sign in signs.items()
        }
        return [holder for holder, (_, since) in self._seen.items() if now - since >= self._seconds]


_grace_until = 0.0


def database_was_away() -> None:
    """Stop claiming expired leases for the time of one lease: their holders could not renew while the database was down."""
    global _grace_until  # noqa: PLW0603 - one database, one process
    _grace_until = time.monotonic() + LEASE.total_seconds()


def free(now: datetime) -> Q:
    """Match rows that no worker holds."""
    given_back = Q(lease_until=None)
    return given_back if time.monotonic() < _grace_until else given_back | Q(lease_until__lt=now)


def claim(candidates: QuerySet[Work], *, owner: str, **changes: Any) -> Work | None:
    """Lease the first free row of `candidates` to `owner`, with `changes` to its other fields; None when no row is free.

    The update filters by the row and its fence alone. With the joins of `candidates` it would be a subquery, which PostgreSQL does not
    evaluate again after another worker's claim was committed first.
    """
    now = timezone.now()
    while (work := candidates.filter(free(now)).first()) is not None:
        leased: Any = work
        if held(work).filter(free(now)).update(owner=owner, lease_until=now + LEASE, fence=F("fence") + 1, **changes):
            leased.owner, leased.lease_until, leased.fence = owner, now + LEASE, leased.fence + 1
            return work
    return None


def held(work: Model) -> QuerySet[Any]:
    """Match the row behind `work` for as long as its lease is the one that `work` was claimed with."""
    leased: Any = work
    return type(work)._default_manager.filter(pk=work.pk, fence=leased.fence)


def renew(work: Model) -> None:
    """Extend the lease, in the caller's transaction where there is one.

    Raises:
        LeaseLost: another worker has claimed the row.
    """
    if not held(work).update(lease_until=timezone.now() + LEASE):
        raise LeaseLost(str(work))


def release(work: Model, **changes: Any) -> None:
    """Give the lease back, so that other workers need not wait for its end. A lost lease is left alone."""
    held(work).update(owner="", lease_until=None, **changes)


def release_all(rows: QuerySet[Any], *, owner: str, **changes: Any) -> None:
    """Give back what `owner` holds among `rows`, claims of cancelled tasks included."""
    rows.filter(owner=owner).update(owner="", lease_until=None, **changes)


def release_dead(rows: QuerySet[Any], **changes: Any) -> int:
    """Free what killed processes of this machine held among `rows`, so that a restart continues at once; return the number of rows."""
    owners = rows.exclude(owner="").values_list("owner", flat=True).distinct()
    return sum(rows.filter(owner=owner).update(owner="", lease_until=None, **changes) for owner in [*owners] if is_dead(owner))
