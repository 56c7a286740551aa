"""Run batches at a backend's own Batch API: submit once, follow, and import the results row by row."""

from __future__ import annotations

import json
import logging
import tempfile
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.utils import timezone

from batches.execution import completion, results
from batches.execution.results import RowResult
from batches.execution.row_executor import recording
from batches.input import estimates, validation
from batches.models import Batch, BatchRow
from batches.remote import remote_jobs
from webapp.backends.runtime import registry
from webapp.core.database import DatabaseThread
from webapp.core.leases import durable, renew
from webapp.patterns.batch import remote
from webapp.patterns.batch.input_file import REMOTE_DISCOUNT, LineError, with_model
from webapp.patterns.batch.results import BatchResult
from webapp.patterns.errors import PatternError
from webapp.patterns.types import Attempt, AttemptLog, Json, Usage

if TYPE_CHECKING:
    from webapp.patterns.openai.backend import OpenAIBackend

logger = logging.getLogger("patchbay.batches")
State, Status = BatchRow.State, Batch.Status
GROUP = 500
OVERDUE = timedelta(hours=2)
"""Time after its window in which a remote job may still report its end."""
ENDS = {"completed": Status.COMPLETED, "expired": Status.EXPIRED, "cancelled": Status.CANCELLED}


async def advance(batch: Batch, *, database: DatabaseThread) -> None:
    """Advance a remote batch whose lease is held by one step: submit it, poll it, or import its results."""
    try:
        server = await registry.backend(batch.backend)
        await _step(batch, server, database)
    except PatternError as error:
        if batch.expires_at + OVERDUE < timezone.now():
            await _end(batch, Status.EXPIRED, database)
            return
        await database.run(_note, batch, f"{batch.backend}: {error.message} It is tried again.", _next_look(batch))


async def _step(batch: Batch, server: OpenAIBackend, database: DatabaseThread) -> None:
    if batch.status == Status.CANCELLING and (batch.followed or not batch.remote_file_id):
        await _end(batch, Status.CANCELLED, database)
        return
    if not batch.remote_id:
        await _submit(batch, server, database)
        return
    if batch.followed:
        await remote_jobs.take_input(batch, server, database)
    if batch.status == Status.CANCELLING and batch.remote_status not in {"cancelling", *remote.FINAL}:
        job = await server.cancel_batch(batch.remote_id)
    else:
        job = await server.retrieve_batch(batch.remote_id)
    await _look(batch, job, server, database)


async def _submit(batch: Batch, server: OpenAIBackend, database: DatabaseThread) -> None:
    tried_before = batch.remote_status == "submitting"
    if not batch.remote_file_id:
        with await sync_to_async(_rewritten, thread_sensitive=False)(batch) as file:
            uploaded = await server.upload_file(f"{batch.api_id}.jsonl", file)
        await database.run(_store, batch, remote_file_id=str(uploaded["id"]))
    # Recorded before the call: a record without an id means that a job may exist, so the next process searches for it.
    await database.run(_store, batch, remote_status="submitting")
    job = await remote.submit(
        server, batch.remote_file_id, batch.endpoint, key=batch.api_id, metadata=batch.metadata, tried_before=tried_before
    )
    await database.run(_store, batch, remote_id=str(job["id"]), remote_status=str(job.get("status") or ""), due_at=_next_look(batch))


def _rewritten(batch: Batch) -> IO[bytes]:
    """Return the input with the server's name of the model, in a temporary file that is deleted when closed."""
    assert batch.input_file is not None
    folder = Path(settings.MEDIA_ROOT)
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - the caller closes it
    with batch.input_file.path.open("rb") as source:
        for line in source:
            if line.strip():
                file.write(with_model(line, batch.remote_model))
    file.seek(0)
    return file


def _store(batch: Batch, **fields: Any) -> None:
    with durable():
        renew(batch)
        Batch.objects.filter(pk=batch.pk).update(paused="", **fields)
    for name, value in fields.items():
        setattr(batch, name, value)


def _note(batch: Batch, why: str, due_at: datetime) -> None:
    logger.warning("batch %s: %s", batch.api_id, why)
    Batch.objects.filter(pk=batch.pk).update(paused=why[:500], due_at=due_at)


def _next_look(batch: Batch) -> datetime:
    now = timezone.now()
    age = (now - (batch.in_progress_at or now)).total_seconds()
    return now + timedelta(seconds=remote.pause(age))


async def _look(batch: Batch, job: Json, server: OpenAIBackend, database: DatabaseThread) -> None:
    """Copy the state of the job; when it has ended, import its results."""
    status = str(job.get("status") or "")
    if batch.followed:
        await database.run(_store, batch, remote_times=remote_jobs.times(job))
    if status not in remote.FINAL:
        counts = job.get("request_counts") or {}
        await database.run(
            _store,
            batch,
            remote_status=status,
            completed=min(batch.total, int(counts.get("completed") or 0)),
            failed=min(batch.total, int(counts.get("failed") or 0)),
            due_at=_next_look(batch),
        )
    elif status == "failed" and not job.get("output_file_id"):
        await database.run(_failed, batch, job)
    else:
        await _bring_home(batch, job, server, database)
        await _end(batch, ENDS.get(status, Status.COMPLETED), database)


def _failed(batch: Batch, job: Json) -> None:
    """End the batch with the errors of a job that the server refused."""
    listed = (job.get("errors") or {}).get("data") or [LineError("remote_failed", "The backend gave no reason.").as_json()]
    with durable():
        renew(batch)
        now = timezone.now()
        Batch.objects.filter(pk=batch.pk).update(
            status=Status.FAILED,
            failed_at=now,
            errors=listed[: validation.MAX_ERRORS],
            remote_status="failed",
            completed=0,
            failed=0,
            webhook_due_at=now if batch.webhook_url else None,
        )


async def _bring_home(batch: Batch, job: Json, server: OpenAIBackend, database: DatabaseThread) -> None:
    """Store all results, joined to their rows by custom_id. Rows with a result stay unchanged."""
    if batch.followed:
        await remote_jobs.put_up_rows(batch, job, server, database)
    await database.run(_reset_counts, batch, str(job["status"]))
    numbers = await database.run(_open_numbers, batch)
    price = await database.run(estimates.prices, batch.backend, batch.remote_model)
    group: list[RowResult] = []
    async for result in remote.results(server, job):
        number = numbers.pop(result.custom_id, None)
        if number is not None:
            group.append(_row(number, result, batch, price))
        if len(group) >= GROUP:
            await _keep(batch, group, database)
            group = []
    missing = [_missing(number) for number in numbers.values()] if job["status"] == "completed" else []
    for part in _groups([*group, *missing]):
        await _keep(batch, part, database)


async def _keep(batch: Batch, rows: list[RowResult], database: DatabaseThread) -> None:
    """Commit results. Record their attempts for usage and budgets, unless another program created the job."""
    await database.run(results.commit, work=batch, results=rows)
    record = recording(batch)
    for row in rows:
        if row.usage.total_tokens and not batch.followed:
            trail = AttemptLog()
            trail.add(Attempt(row.backend, row.model, "ok" if row.state == State.OK else "failed", usage=row.usage, cost=row.cost))
            record(trail, uuid.uuid4())


def _groups(rows: list[RowResult]) -> Iterator[list[RowResult]]:
    for start in range(0, len(rows), GROUP):
        yield rows[start : start + GROUP]


def _reset_counts(batch: Batch, status: str) -> None:
    """Count our own rows from now on, instead of the server's counts."""
    done = dict.fromkeys(State.values, 0)
    for state in batch.rows.exclude(state=State.PENDING).values_list("state", flat=True):
        done[state] += 1
    _store(batch, remote_status=status, completed=done[State.OK], failed=sum(done.values()) - done[State.OK])


def _open_numbers(batch: Batch) -> dict[str, int]:
    return dict(batch.rows.filter(state=State.PENDING).values_list("custom_id", "number"))


def _row(number: int, result: BatchResult, batch: Batch, price: tuple[Any, Any] | None) -> RowResult:
    body = "" if result.body is None else json.dumps(result.body, ensure_ascii=False)
    return RowResult(
        number=number,
        state=State.OK if result.ok else State.FAILED,
        status_code=result.status,
        error_code=result.code,
        error_message=result.message.replace("\0", ""),
        backend=batch.backend,
        model=batch.remote_model,
        tries=1,
        usage=result.usage,
        cost=_cost(result.usage, price),
        response=body,
    )


def _cost(usage: Usage, price: tuple[Any, Any] | None) -> float | None:
    if price is None:
        return None
    full = float(price[0]) * usage.prompt_tokens + float(price[1]) * usage.completion_tokens
    return full * REMOTE_DISCOUNT / estimates.PER_MILLION


def _missing(number: int) -> RowResult:
    message = "The backend's job completed without a result for this row."
    return RowResult(number=number, state=State.FAILED, error_code="no_result", error_message=message)


async def _end(batch: Batch, status: Batch.Status, database: DatabaseThread) -> None:
    if status != Status.COMPLETED:
        state = State.CANCELLED if status == Status.CANCELLED else State.EXPIRED
        await database.run(completion.settle_open, batch=batch, state=state)
    await database.run(completion.finish, batch=batch, status=status)
