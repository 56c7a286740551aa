"""List and follow jobs that other programs created at a backend's Batch API. They are never cancelled from here.

Administrators, and users with the permission `batches.follow_batch`, may do this, because a job belongs to the backend's key and not to a
user. Jobs that Patchbay created for another user are not listed.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.utils import timezone

from batches.execution import bulk_sql
from batches.input import files, validation
from batches.input.execution_plan import has_batch_api
from batches.models import Batch, File
from batches.services import WINDOW
from webapp.accounts.models import User
from webapp.backends.runtime import registry
from webapp.core.database import DatabaseThread, in_database
from webapp.core.leases import durable, renew
from webapp.patterns import sanitize
from webapp.patterns.batch import remote
from webapp.patterns.batch.input_file import Validated
from webapp.patterns.errors import BackendError, PatternError
from webapp.patterns.types import Json

if TYPE_CHECKING:
    from webapp.patterns.openai.backend import OpenAIBackend

PAGE = 30
PERMISSION = "batches.follow_batch"
DRAFT_SECONDS = 24 * 3600
MAX_CHARS = 200
MAX_COUNT = 1_000_000
STEPS = ("created_at", "in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelled_at")
GONE = frozenset({400, 403, 404, 410})
"""Statuses of a server that refuses to return a file."""


@dataclass(frozen=True, slots=True)
class Found:
    """The readable facts of a server's job. `batch` is the user's own batch for it, if there is one."""

    id: str
    name: str
    status: str
    model: str
    completed: int
    total: int
    created_at: datetime | None
    batch: Batch | None


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, newest first. `more` is the id after which the next page starts; empty on the last page."""

    jobs: list[Found]
    more: str


async def servers() -> list[str]:
    """Return the names of the enabled backends with a Batch API, in their order."""
    rows = [row for row in (await registry.current().snapshot()).backends.values() if not row.unusable]
    backends = [await registry.backend(row.id) for row in rows]
    able = await asyncio.gather(*map(has_batch_api, backends))
    return [row.name for row, is_able in zip(rows, able, strict=True) if is_able]


async def listed(user: User, backend: str, *, after: str = "") -> Page:
    """Return a page of the jobs at a backend, newest first, after the job with id `after`.

    Raises:
        PatternError: the backend could not list them.
    """
    server = await registry.backend(backend)
    jobs = await server.list_batches(limit=PAGE, after=after)
    more = str(jobs[-1].get("id") or "") if len(jobs) == PAGE else ""
    return Page(await in_database(_known, user, backend, jobs), more)


def _known(user: User, backend: str, jobs: Sequence[Json]) -> list[Found]:
    ids = [_text(job, "id") for job in jobs]
    ours = Batch.objects.filter(backend=backend, remote_id__in=ids)
    mine = {batch.remote_id: batch for batch in ours.filter(user=user)}
    others = set(ours.filter(followed=False).exclude(user=user).values_list("remote_id", flat=True))
    return [_found(job, mine.get(id_)) for id_, job in zip(ids, jobs, strict=True) if id_ and id_ not in others]


def _found(job: Json, batch: Batch | None) -> Found:
    counts = _part(job, "request_counts")
    return Found(
        id=_text(job, "id"),
        name=_name(job),
        status=_text(job, "status"),
        model=_text(job, "model"),
        completed=_count(counts, "completed"),
        total=_count(counts, "total"),
        created_at=_moment(job, "created_at"),
        batch=batch,
    )


def _name(job: Json) -> str:
    told = _part(job, "metadata")
    return _text(told, "name") or _text(told, "description") or _text(told, "job_description")


def _part(job: Json, name: str) -> Json:
    value = job.get(name)
    return value if isinstance(value, dict) else {}


def _text(job: Json, name: str) -> str:
    value = job.get(name)
    return sanitize.text(value)[:MAX_CHARS] if isinstance(value, str) else ""


def _count(counts: Json, name: str) -> int:
    value = counts.get(name)
    return min(value, MAX_COUNT) if isinstance(value, int) and value > 0 else 0


def _moment(job: Json, name: str) -> datetime | None:
    seconds = job.get(name)
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int | float) and 0 < seconds < 1e11 else None


def times(job: Json) -> Json:
    """Return the times of a job's steps: Unix times by the API's names."""
    return {name: int(at.timestamp()) for name in STEPS if (at := _moment(job, name))}


async def follow(*, user: User, backend: str, job_id: str) -> Batch:
    """Return the user's batch for a job at a backend, created if it is new.

    Raises:
        PatternError: the backend could not return the job.
    """
    job = await (await registry.backend(backend)).retrieve_batch(job_id)
    return await in_database(_batch, user, backend, job)


def _batch(user: User, backend: str, job: Json) -> Batch:
    found = next(iter(_known(user, backend, [job])), None)
    if found is None:
        raise PatternError("This job belongs to another user's batch.")
    if found.batch is not None:
        return found.batch
    now = timezone.now()
    fields: Json = {
        "name": found.name or f"{found.id} at {backend}"[:MAX_CHARS],
        "status": Batch.Status.IN_PROGRESS,
        "executor": Batch.Executor.REMOTE,
        "followed": True,
        "input_id": uuid.uuid4(),
        "endpoint": _text(job, "endpoint")[:64],
        "model": f"{backend}/{found.model}" if found.model else "",
        "remote_model": found.model,
        "remote_file_id": _text(job, "input_file_id"),
        "remote_status": found.status[:32],
        "total": found.total,
        "in_progress_at": _moment(job, "in_progress_at") or found.created_at or now,
        "remote_times": times(job),
        "expires_at": max(_moment(job, "expires_at") or now, now + WINDOW),
    }
    batch, _new = Batch.objects.get_or_create(user=user, backend=backend, remote_id=found.id, defaults=fields)
    return batch


async def take_input(batch: Batch, server: OpenAIBackend, database: DatabaseThread) -> None:
    """Download the job's requests once, so that its rows can be displayed. If they are deleted, the rows show only results.

    Raises:
        PatternError: a temporary failure.
    """
    if batch.input_file_id or not batch.remote_file_id:
        return
    try:
        file = await _downloaded(batch, server, database)
    except (BackendError, files.FileTooLarge) as error:
        if isinstance(error, BackendError) and error.status not in GONE:
            raise
        await database.run(_store, batch, remote_file_id="")
        return
    checked = await sync_to_async(validation.validate, thread_sensitive=False)(file, endpoint=batch.endpoint)
    await database.run(_take, batch, file, checked)


async def _downloaded(batch: Batch, server: OpenAIBackend, database: DatabaseThread) -> File:
    with files.Upload() as upload:
        async for piece in server.file_content(batch.remote_file_id):
            await asyncio.to_thread(upload.write, piece)
        return await database.run(
            upload.finish, user=batch.user, filename=f"{batch.remote_id}.jsonl", purpose="batch", expires_after=DRAFT_SECONDS
        )


def _take(batch: Batch, file: File, checked: Validated) -> None:
    with durable():
        model = batch.model or f"{batch.backend}/{checked.model}"[:MAX_CHARS]
        _store(batch, input_file=file, input_id=file.pk, total=len(checked.lines), model=model)
        File.objects.filter(pk=file.pk).update(expires_at=None)
        bulk_sql.put_up_rows(batch.pk, ((line.number, line.custom_id, line.offset, line.length) for line in checked.lines))


def _store(batch: Batch, **fields: Any) -> None:
    with durable():
        renew(batch)
        Batch.objects.filter(pk=batch.pk).update(**fields)
    for name, value in fields.items():
        setattr(batch, name, value)


async def put_up_rows(batch: Batch, job: Json, server: OpenAIBackend, database: DatabaseThread) -> None:
    """Create a row for each result if the requests are deleted."""
    if batch.input_file_id is None:
        ids = [result.custom_id async for result in remote.results(server, job)]
        await database.run(_put_up, batch, ids)


def _put_up(batch: Batch, ids: Sequence[str]) -> None:
    known = set(batch.rows.values_list("custom_id", flat=True))
    new = [one for one in dict.fromkeys(ids) if one not in known]
    with durable():
        _store(batch, total=len(known) + len(new))
        bulk_sql.put_up_rows(batch.pk, ((number, one[:512], 0, 0) for number, one in enumerate(new, len(known) + 1)))
