"""Read batches for pages and the API. Every query starts from the user, so batches of other users are never found."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q, QuerySet, Sum
from django.utils import timezone

from batches.execution import pause_reasons
from batches.models import Batch, BatchRow, BatchTick, File
from webapp.accounts.models import User

State = BatchRow.State
RATE_SECONDS = 20
PAGE = 50


def batches_of(user: User) -> QuerySet[Batch]:
    """Return the user's batches, newest first."""
    return Batch.objects.filter(user=user)


def batch_of(user: User, batch_id: uuid.UUID) -> Batch | None:
    """Return one of the user's batches; None if it does not exist or belongs to another user."""
    chosen = batches_of(user).select_related("input_file", "output_file", "error_file", "parent", "user")
    return chosen.filter(pk=batch_id).first()


def parts(batch: Batch) -> list[Batch]:
    """Return the batches that the input was split into, in order, including this one; only this one if it was not split."""
    first = batch.first_part_id or batch.pk
    return list(Batch.objects.filter(Q(pk=first) | Q(first_part=first), user=batch.user_id).order_by("created_at", "name"))


def has_retries(batch: Batch) -> bool:
    """Return whether the batch is a retry or was retried, so that its results can be merged."""
    return batch.parent_id is not None or batch.retries.exists()


def first_run(batch: Batch) -> Batch:
    """Return the batch that this one retries, directly or through other retries; the batch itself if it retries none."""
    seen = {batch.pk}
    while batch.parent is not None and batch.parent.pk not in seen:
        batch = batch.parent
        seen.add(batch.pk)
    return batch


def retries_of(batch: Batch) -> list[Batch]:
    """Return the retries of a batch and the retries of those, oldest first."""
    found: list[Batch] = []
    generation = [batch]
    while generation:
        generation = list(Batch.objects.filter(parent__in=generation, user=batch.user_id).exclude(pk__in=[one.pk for one in found]))
        found += generation
    return sorted(found, key=lambda one: one.created_at)


def files_of(user: User) -> QuerySet[File]:
    """Return the user's files that have not expired, newest first."""
    return File.objects.filter(user=user).exclude(expires_at__lt=timezone.now())


def parse_id(api_id: str, prefix: str) -> uuid.UUID | None:
    """Return the UUID in an id of the API (`batch_…`, `file-…`); None for anything else."""
    try:
        return uuid.UUID(hex=api_id.removeprefix(prefix)) if api_id.startswith(prefix) else None
    except ValueError:
        return None


def search(user: User, *, status: str = "", text: str = "") -> QuerySet[Batch]:
    """Return the user's batches by status (`active` for all running ones) and by name, model, or id."""
    found = batches_of(user).select_related("input_file")
    if status == "active":
        found = found.filter(status__in=Batch.ACTIVE)
    elif status:
        found = found.filter(status=status)
    if text:
        key = parse_id(text, "batch_")
        found = found.filter(
            Q(pk=key) if key else Q(name__icontains=text) | Q(model__icontains=text) | Q(input_file__filename__icontains=text)
        )
    return found


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a batch. `rate` is in rows/s over the last seconds. `left_ms` is the time to the end at that rate; None at rate 0."""

    done: int
    total: int
    rate: float
    left_ms: float | None
    paused: str

    @property
    def percent(self) -> float:
        """Return the finished share of the rows, 0 to 100."""
        return 100 * self.done / self.total if self.total else 0.0


def progress(batch: Batch) -> Progress:
    """Return the progress of a batch with its rate in rows a second and the time left in milliseconds."""
    rate = _rate(batch) if batch.is_active else 0.0
    left = (batch.total - batch.done) / rate * 1000 if rate and batch.status == Batch.Status.IN_PROGRESS else None
    return Progress(batch.done, batch.total, rate, left, pause_reasons.reason(batch))


def _rate(batch: Batch) -> float:
    """Return rows per second over the last seconds, without the current one."""
    now = int(timezone.now().timestamp())
    first = now - RATE_SECONDS
    if batch.in_progress_at:
        first = max(first, int(batch.in_progress_at.timestamp()))
    totals = batch.ticks.filter(second__gte=first, second__lt=now).aggregate(ok=Sum("ok"), failed=Sum("failed"))
    return ((totals["ok"] or 0) + (totals["failed"] or 0)) / max(1, now - first)


def ended_rate(batch: Batch) -> float | None:
    """Return answered rows per second over the whole run. Rows that were never sent do not count."""
    if not batch.in_progress_at or not batch.ended_at:
        return None
    seconds = (batch.ended_at - batch.in_progress_at).total_seconds()
    return float(batch.answered / seconds) if seconds > 0 else None


@dataclass(frozen=True, slots=True)
class Bucket:
    """A period of a batch: rows per second, and their latency."""

    start: datetime
    ok: float
    failed: float
    mean_ms: float
    max_ms: float


def timeline(batch: Batch, *, buckets: int = 60) -> list[Bucket]:
    """Return the life of the batch in at most `buckets` periods of equal length; an empty list before the first result."""
    ticks = list(BatchTick.objects.filter(batch=batch).values_list("second", "ok", "failed", "sum_ms", "max_ms"))
    if not ticks:
        return []
    first, last = ticks[0][0], ticks[-1][0]
    width = max(1, -(-(last - first + 1) // buckets))
    count = (last - first) // width + 1
    sums: list[list[float]] = [[0, 0, 0, 0] for _ in range(count)]
    for second, ok, failed, sum_ms, max_ms in ticks:
        bucket = sums[(second - first) // width]
        bucket[0] += ok
        bucket[1] += failed
        bucket[2] += sum_ms
        bucket[3] = max(bucket[3], max_ms)
    return [_bucket(first + number * width, width, values) for number, values in enumerate(sums)]


def _bucket(second: int, width: int, values: Sequence[float]) -> Bucket:
    ok, failed, sum_ms, max_ms = values
    start = datetime.fromtimestamp(second, tz=timezone.get_current_timezone())
    rows = ok + failed
    return Bucket(start, ok / width, failed / width, sum_ms / rows if rows else 0.0, max_ms)


@dataclass(frozen=True, slots=True)
class Failure:
    """A kind of failure and its count. `share` is relative to the most frequent kind, 0 to 100."""

    code: str
    backend: str
    rows: int
    share: float


def failures(batch: Batch) -> list[Failure]:
    """Return failures of rows that were sent, by code and backend, most frequent first."""
    if not batch.failed:
        return []
    found = (
        batch.rows.filter(state=State.FAILED).order_by().values("error_code", "backend").annotate(rows=Count("id")).order_by("-rows")[:12]
    )
    most = max((row["rows"] for row in found), default=1)
    return [Failure(row["error_code"] or "unknown", row["backend"], row["rows"], 100 * row["rows"] / most) for row in found]


@dataclass(frozen=True, slots=True)
class RowPage:
    """Hold one page of rows and the number of the row that the next page starts at."""

    rows: list[BatchRow]
    next: int | None


def rows(batch: Batch, *, state: str = "", text: str = "", after: int = 0) -> RowPage:
    """Return a page of rows by state name and by custom_id, answer, or error."""
    found = batch.rows.filter(number__gt=after)
    states = {"pending": [State.PENDING], "ok": [State.OK], "failed": [State.FAILED], "unsent": [State.CANCELLED, State.EXPIRED]}
    if state in states:
        found = found.filter(state__in=states[state])
    if text:
        found = found.filter(
            Q(custom_id__icontains=text) | Q(response__icontains=text) | Q(error_message__icontains=text) | Q(error_code__icontains=text)
        )
    page = list(found.order_by("number")[: PAGE + 1])
    return RowPage(page[:PAGE], page[PAGE - 1].number if len(page) > PAGE else None)


def elapsed_ms(batch: Batch) -> float | None:
    """Return the run time in milliseconds."""
    if batch.in_progress_at is None:
        return None
    end: datetime = batch.ended_at or timezone.now()
    return float((end - batch.in_progress_at).total_seconds() * 1000)
