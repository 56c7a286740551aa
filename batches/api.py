"""Serve `/v1/files` and `/v1/batches` with the same services as the pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TypeVar

from django.db import transaction
from django.db.models import Q, QuerySet

from batches import selectors, services
from batches.execution import runner
from batches.input import files
from batches.models import Batch, File
from batches.results import outputs
from batches.results.downloads import in_thread
from webapp.core.database import in_database
from webapp.patterns.errors import InputError
from webapp.patterns.types import Json
from webapp.ports.files_and_batches import ApiError, Caller, Content, Page, Upload, listing, not_found

M = TypeVar("M", File, Batch)


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())


def _dated(fields: Mapping[str, datetime | None]) -> Json:
    return {name: _unix(moment) for name, moment in fields.items()}


def file_object(file: File) -> Json:
    """Return a file in OpenAI's schema."""
    return {
        "id": file.api_id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": _unix(file.created_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        **({"expires_at": _unix(file.expires_at)} if file.expires_at else {}),
    }


def batch_object(batch: Batch) -> Json:
    """Return a batch in OpenAI's schema. Fields that do not apply (yet) are left out, because the schema allows null only in metadata."""
    times = ("in_progress", "expires", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled")
    known = {
        "id": batch.api_id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "model": batch.model or None,
        "errors": {"object": "list", "data": batch.errors} if batch.errors else None,
        "input_file_id": f"file-{batch.input_id.hex}",
        "completion_window": batch.completion_window,
        "status": batch.status,
        "output_file_id": f"file-{batch.output_file_id.hex}" if batch.output_file_id else None,
        "error_file_id": f"file-{batch.error_file_id.hex}" if batch.error_file_id else None,
        "created_at": _unix(batch.created_at),
        **_dated({f"{name}_at": getattr(batch, f"{name}_at") for name in times}),
        "request_counts": {"total": batch.total, "completed": batch.completed, "failed": batch.failed},
        "usage": _usage(batch),
    }
    return {**{name: value for name, value in known.items() if value is not None}, "metadata": batch.metadata}


def _usage(batch: Batch) -> Json:
    return {
        "input_tokens": batch.prompt_tokens,
        "input_tokens_details": {"cached_tokens": batch.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": batch.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": batch.reasoning_tokens},
        "total_tokens": batch.prompt_tokens + batch.completion_tokens,
    }


def _page(found: QuerySet[M], page: Page, after: M | None) -> tuple[list[M], bool]:
    """Return one page by (created_at, id), in the requested order."""
    newest = page.order == "desc"
    if after is not None:
        side = "lt" if newest else "gt"
        same = Q(created_at=after.created_at, **{f"id__{side}": after.pk})
        found = found.filter(Q(**{f"created_at__{side}": after.created_at}) | same)
    rows = list(found.order_by(*(("-created_at", "-id") if newest else ("created_at", "id")))[: page.limit + 1])
    return rows[: page.limit], len(rows) > page.limit


class Files:
    """Handle `/v1/files`."""

    async def create(self, caller: Caller, upload: Upload, *, purpose: str, fields: Mapping[str, str]) -> Json:
        """Store an upload and return its file object. Raise `ApiError` 507 when the disk is full."""
        expires_after = _expires_after(fields)
        try:
            return await in_database(self._create, caller, upload, purpose, expires_after)
        except files.StorageFull as error:  # the server's failure, not the caller's
            raise ApiError(507, error.message, type="server_error", code="storage_full") from error

    @transaction.atomic
    def _create(self, caller: Caller, upload: Upload, purpose: str, expires_after: int | None) -> Json:
        """Adopt the upload and record its reply in one transaction."""
        file = files.adopt(user=caller.user, path=upload.path, filename=upload.filename, purpose=purpose, expires_after=expires_after)
        created = file_object(file)
        caller.record(created)
        return created

    async def list(self, caller: Caller, page: Page) -> Json:
        """Return one page of the caller's files."""
        found: Json = await in_database(self._list, caller, page)
        return found

    def _list(self, caller: Caller, page: Page) -> Json:
        found = selectors.files_of(caller.user)
        if purpose := page.filters.get("purpose"):
            found = found.filter(purpose=purpose)
        after = _file(caller, page.after) if page.after else None
        rows, more = _page(found, page, after)
        return listing([file_object(file) for file in rows], has_more=more)

    async def retrieve(self, caller: Caller, file_id: str) -> Json:
        """Return the file object, or raise `ApiError` 404."""
        return file_object(await in_database(_file, caller, file_id))

    async def content(self, caller: Caller, file_id: str) -> Content:
        """Return the bytes of a file as a stream, or raise `ApiError` 404."""
        file = await in_database(_file, caller, file_id)
        if file.content == File.Content.STORED and not file.path.exists():
            raise not_found("file", file_id)
        return Content(in_thread(outputs.content(file)), file.filename, file.bytes, "application/jsonl")

    async def delete(self, caller: Caller, file_id: str) -> Json:
        """Delete a file of the caller's, or raise `ApiError` 404."""
        file = await in_database(_file, caller, file_id)
        api_id = file.api_id
        await in_database(files.delete, file=file)
        return {"id": api_id, "object": "file", "deleted": True}


def _expires_after(fields: Mapping[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InputError("The anchor must be 'created_at'.", param="expires_after[anchor]", code="invalid_value")
    if seconds is None or not seconds.isascii() or not seconds.isdigit():
        raise InputError("The seconds must be a whole number.", param="expires_after[seconds]", code="invalid_value")
    return int(seconds)


def _file(caller: Caller, file_id: str) -> File:
    key = selectors.parse_id(file_id, "file-")
    file = selectors.files_of(caller.user).filter(pk=key).first() if key else None
    if file is None:
        raise not_found("file", file_id)
    return file


class Batches:
    """Handle `/v1/batches`."""

    async def create(self, caller: Caller, body: Json) -> Json:
        """Create a batch and wake the runner."""
        created = await in_database(self._create, caller, body)
        runner.wake()
        return created

    @transaction.atomic
    def _create(self, caller: Caller, body: Json) -> Json:
        """Create batch and record its reply in one transaction."""
        file = _file(caller, str(body["input_file_id"]))
        expires = body.get("output_expires_after") or {}
        batch = services.create_batch(
            user=caller.user,
            input_file=file,
            endpoint=str(body["endpoint"]),
            completion_window=str(body.get("completion_window") or "24h"),
            metadata=body.get("metadata"),
            output_expires_after=expires.get("seconds"),
        )
        created = batch_object(batch)
        caller.record(created)
        return created

    async def list(self, caller: Caller, page: Page) -> Json:
        """Return one page of the caller's batches."""
        found: Json = await in_database(self._list, caller, page)
        return found

    def _list(self, caller: Caller, page: Page) -> Json:
        after = _batch(caller, page.after) if page.after else None
        rows, more = _page(selectors.batches_of(caller.user), page, after)
        return listing([batch_object(batch) for batch in rows], has_more=more)

    async def retrieve(self, caller: Caller, batch_id: str) -> Json:
        """Return the batch object, or raise `ApiError` 404."""
        return batch_object(await in_database(_batch, caller, batch_id))

    async def cancel(self, caller: Caller, batch_id: str) -> Json:
        """Cancel a batch and wake the runner."""
        batch = await in_database(_batch, caller, batch_id)
        cancelled = await in_database(services.cancel_batch, batch=batch)
        runner.wake()
        return batch_object(cancelled)


def _batch(caller: Caller, batch_id: str) -> Batch:
    key = selectors.parse_id(batch_id, "batch_")
    batch = selectors.batch_of(caller.user, key) if key else None
    if batch is None:
        raise not_found("batch", batch_id)
    return batch
