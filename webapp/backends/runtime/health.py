"""Learn the health of backends from real requests. Polling (polling.py) covers backends without traffic."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol

from django.db.models import Q
from django.utils import timezone

from webapp.backends.models import Backend, Health
from webapp.patterns import errors
from webapp.patterns.openai.error_mapping import presentable

WRITE_EVERY = timedelta(seconds=5)
TRIED = frozenset({"ok", "partial", "failed"})


class RecordedAttempt(Protocol):
    """Name the columns of an attempt that health is learned from."""

    @property
    def backend(self) -> str:
        """Return the name of the backend."""

    @property
    def outcome(self) -> str:
        """Return `ok`, `failed` or another outcome of `Attempt`."""

    @property
    def error(self) -> str:
        """Return the class of the error, or an empty text."""

    @property
    def why(self) -> str:
        """Return the reason of the failure."""

    @property
    def first_token_ms(self) -> float | None:
        """Return the time to the first token in milliseconds."""

    @property
    def created_at(self) -> datetime:
        """Return when the attempt began."""


def learn(attempts: Iterable[RecordedAttempt]) -> None:
    """Take each backend's newest attempt as its state, and flag backends that need an administrator."""
    newest = {row.backend: row for row in sorted(attempts, key=lambda row: row.created_at) if row.outcome in TRIED}
    if not newest:
        return
    for backend in Backend.objects.filter(name__in=newest).select_related("health"):
        row = newest[backend.name]
        kind = _kind(row.error)
        bad = row.outcome == "failed" and (kind.counts or kind.flag)
        why = presentable(row.why)  # every user sees it
        keep(backend=backend, up=not bad, why=why if bad else "", latency_ms=row.first_token_ms, source="traffic")
        set_flag(backend=backend, error=kind if row.outcome == "failed" else None, why=why)


def _kind(error: str) -> type[errors.BackendError]:
    """Return the class of an attempt's error; the neutral base class if it is not a backend's error."""
    kind = getattr(errors, error, errors.BackendError) if error else errors.BackendError
    return kind if issubclass(kind, errors.BackendError) else errors.BackendError


def set_flag(*, backend: Backend, error: type[errors.BackendError] | None, why: str) -> None:
    """Flag a backend whose key or quota is refused, and clear the flag when it answers. This does not rebuild the backend."""
    if error is not None and error.flag:
        Backend.objects.filter(pk=backend.pk).exclude(flagged=why[:500]).update(flagged=why[:500])
    elif error is None and backend.flagged:
        Backend.objects.filter(pk=backend.pk).update(flagged="")


def keep(*, backend: Backend, up: bool, why: str = "", latency_ms: float | None = None, source: str = "poll") -> None:
    """Record a backend's state. An unchanged state from traffic is written at most every few seconds."""
    now = timezone.now()
    state = Health.State.UP if up else Health.State.DOWN
    row, _new = Health.objects.get_or_create(backend=backend)
    fresh = source == "traffic" and row.checked_at and now - row.checked_at < WRITE_EVERY
    if fresh and row.state == state and row.why == why[:500]:
        return
    row.state, row.why, row.source, row.checked_at = state, why[:500], source, now
    row.latency_ms = latency_ms if latency_ms is not None else row.latency_ms
    row.ok_at = now if up else row.ok_at
    row.save()


def claim_due(*, older_than: timedelta) -> list[int]:
    """Return the ids of enabled backends whose health is older than that. Among several processes, one gets each."""
    now = timezone.now()
    for backend in Backend.objects.filter(enabled=True, health=None):
        Health.objects.get_or_create(backend=backend)
    due = Q(checked_at=None) | Q(checked_at__lt=now - older_than)
    rows = Health.objects.filter(due, backend__enabled=True).values_list("pk", "backend_id", "checked_at")
    return [backend for pk, backend, seen in rows if Health.objects.filter(pk=pk, checked_at=seen).update(checked_at=now)]
