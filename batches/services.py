"""Create, cancel, resume, retry, clone, and delete batches."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from batches.input import files
from batches.models import Batch, BatchRow, File
from webapp.accounts.models import User
from webapp.patterns.batch.input_file import ENDPOINTS
from webapp.patterns.errors import InputError
from webapp.patterns.http.addresses import check_url
from webapp.patterns.types import Json

logger = logging.getLogger("patchbay.batches")
WINDOW = timedelta(hours=24)
MAX_CONCURRENCY = 512
METADATA_PAIRS, METADATA_KEY_CHARS, METADATA_VALUE_CHARS = 16, 64, 512


def create_batch(
    *,
    user: User,
    input_file: File,
    endpoint: str = "",
    completion_window: str = "24h",
    metadata: Json | None = None,
    output_expires_after: int | None = None,
    name: str = "",
    executor: str = Batch.Executor.AUTO,
    concurrency: int = 32,
    schema: Json | None = None,
    webhook_url: str = "",
    parent: Batch | None = None,
    first_part: Batch | None = None,
) -> Batch:
    """Create a batch over an uploaded file. The runner validates it next.

    Args:
        endpoint: the path that every line must call; empty for the first line's.
        output_expires_after: seconds after which the output and error files are deleted.
        schema: JSON schema that each answer must match.
        webhook_url: called, signed, when the batch has ended.

    Raises:
        InputError: OpenAI answers 400 in this case.
    """
    _check_input(user, input_file, endpoint, completion_window)
    _check_metadata(metadata)
    _check_webhook(webhook_url)
    _check_running(concurrency, output_expires_after)
    now = timezone.now()
    return Batch.objects.create(
        user=user,
        input_file=input_file,
        input_id=input_file.id,
        endpoint=endpoint,
        completion_window=completion_window,
        metadata=metadata or None,
        output_expires_seconds=output_expires_after,
        name=name[:200],
        executor=executor,
        concurrency=concurrency,
        schema=schema,
        webhook_url=webhook_url,
        parent=parent,
        first_part=first_part,
        created_at=now,
        due_at=now,
        expires_at=now + WINDOW,
    )


def _check_running(concurrency: int, output_expires_after: int | None) -> None:
    if output_expires_after is not None:
        files.check_upload(purpose="batch", expires_after=output_expires_after)
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise InputError(f"The concurrency must be from 1 to {MAX_CONCURRENCY}.", param="concurrency", code="invalid_value")


def _check_input(user: User, file: File, endpoint: str, window: str) -> None:
    if file.user_id != user.pk or file.content != File.Content.STORED:
        raise InputError("The input file must be one of your uploaded files.", param="input_file_id", code="invalid_value")
    if file.purpose != "batch":
        message = f"The input file must be uploaded with purpose 'batch', not '{file.purpose}'."
        raise InputError(message, param="input_file_id", code="invalid_purpose")
    if endpoint and endpoint not in ENDPOINTS:
        raise InputError(f"'{endpoint}' is not one of {list(ENDPOINTS)}.", param="endpoint", code="invalid_value")
    if window != "24h":
        raise InputError("The completion window must be '24h'.", param="completion_window", code="invalid_value")


def _check_metadata(metadata: Json | None) -> None:
    if metadata is None:
        return
    if not isinstance(metadata, dict) or len(metadata) > METADATA_PAIRS:
        raise InputError(f"Metadata must be an object of at most {METADATA_PAIRS} pairs.", param="metadata", code="invalid_value")
    for key, value in metadata.items():
        if not isinstance(value, str) or len(value) > METADATA_VALUE_CHARS or len(key) > METADATA_KEY_CHARS:
            message = (
                f"Metadata keys have at most {METADATA_KEY_CHARS} characters, and values are strings of at most {METADATA_VALUE_CHARS}."
            )
            raise InputError(message, param=f"metadata.{key[:METADATA_KEY_CHARS]}", code="invalid_value")


def _check_webhook(url: str) -> None:
    """Refuse webhooks into private networks, because every user can enter one. A name is checked again when it is called."""
    if not url:
        return
    try:
        check_url(url, public=not settings.PRIVATE_WEBHOOKS)
    except InputError as error:
        raise InputError(f"The webhook cannot be called: {error.message}", param="webhook_url", code="invalid_value") from None


def cancel_batch(*, batch: Batch) -> Batch:
    """Ask a batch to stop. The runner closes its open requests and keeps finished rows.

    Raises:
        InputError: the batch has already ended.
    """
    asked = (Batch.Status.VALIDATING, Batch.Status.IN_PROGRESS)
    now = timezone.now()
    Batch.objects.filter(pk=batch.pk, status__in=asked).update(status=Batch.Status.CANCELLING, cancelling_at=now, due_at=now, paused="")
    batch.refresh_from_db()
    if batch.status not in {Batch.Status.CANCELLING, Batch.Status.CANCELLED}:
        raise InputError(f"Cannot cancel a batch with status '{batch.status}'.", param="batch_id", code="invalid_status")
    return batch


def resume_batch(*, batch: Batch) -> None:
    """Retry a paused batch now."""
    Batch.objects.filter(pk=batch.pk).update(paused="", paused_at=None, due_at=timezone.now())


def retry_failed(*, batch: Batch) -> Batch:
    """Create a batch, linked to this one, of only the rows without a successful answer.

    Raises:
        InputError: the batch still runs, nothing failed, or its input file is deleted.
    """
    if batch.is_active:
        raise InputError("The batch is still running. Cancel it first, or wait until it ends.", code="invalid_status")
    rows = batch.rows.exclude(state=BatchRow.State.OK)
    if not rows.exists():
        raise InputError("Every row of this batch has a good answer.", code="nothing_to_retry")
    source = _source(batch)
    file = files.store(user=batch.user, filename=f"retry of {source.filename}", purpose="batch", data=_lines(source, batch))
    return _again(batch, file, name=f"Retry of {batch}", parent=batch)


def _lines(source: File, batch: Batch) -> Iterator[bytes]:
    spans = batch.rows.exclude(state=BatchRow.State.OK).values_list("offset", "length")
    with source.path.open("rb") as file:
        for offset, length in spans.iterator(chunk_size=1000):
            file.seek(offset)
            yield file.read(length) + b"\n"


def _source(batch: Batch) -> File:
    if batch.input_file is None or not batch.input_file.path.exists():
        raise InputError("The input file of this batch was deleted.", code="input_deleted")
    return batch.input_file


def clone_batch(*, batch: Batch) -> Batch:
    """Create a batch over the same input with the same options."""
    return _again(batch, _source(batch), name=batch.name, parent=None)


def _again(batch: Batch, file: File, *, name: str, parent: Batch | None) -> Batch:
    return create_batch(
        user=batch.user,
        input_file=file,
        endpoint=batch.endpoint,
        metadata=batch.metadata,
        output_expires_after=batch.output_expires_seconds,
        name=name,
        executor=batch.executor,
        concurrency=batch.concurrency,
        schema=batch.schema,
        webhook_url=batch.webhook_url,
        parent=parent,
    )


def delete_old_batches() -> int:
    """Delete batches that ended more than `BATCH_RETENTION_DAYS` ago; return their number."""
    if not settings.BATCH_RETENTION_DAYS:
        return 0
    oldest = timezone.now() - timedelta(days=settings.BATCH_RETENTION_DAYS)
    old = Batch.objects.exclude(status__in=Batch.ACTIVE).filter(created_at__lt=oldest)
    gone = [batch for batch in old.select_related("input_file") if batch.ended_at and batch.ended_at < oldest]
    for batch in gone:
        delete_batch(batch=batch)
    return len(gone)


def delete_batch(*, batch: Batch) -> None:
    """Delete a batch with its rows and outputs, and its input file unless another batch uses it.

    Raises:
        InputError: the batch still runs.
    """
    if batch.is_active:
        raise InputError("The batch is still running. Cancel it first.", code="invalid_status")
    source, api_id = batch.input_file, batch.api_id
    with transaction.atomic():
        for file in (batch.output_file, batch.error_file):
            if file is not None:
                file.delete()
        batch.delete()
        if source is not None and not Batch.objects.filter(input_file=source).exists():
            files.delete(file=source)
    logger.info("batch %s was deleted", api_id)
