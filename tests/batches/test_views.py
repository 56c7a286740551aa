"""The pages of batches, without a browser."""

from __future__ import annotations

import io

from django.test import Client

from batches import results
from batches.models import Batch, BatchChunk, BatchRow
from batches.results import RowResult
from tests.batches.conftest import line, lines, make_batch
from tests.cast import Cast
from webapp.patterns.types import Usage


def upload(*data: bytes, name: str = "in.jsonl") -> io.BytesIO:
    file = io.BytesIO(b"".join(data))
    file.name = name
    return file


def finished(cast: Cast, count: int = 3) -> Batch:
    """A batch whose rows are all done, without a runner."""
    batch = make_batch(cast.owner, lines(count))
    Batch.objects.filter(pk=batch.pk).update(status="in_progress", total=count, model="up/m", endpoint="/v1/chat/completions")
    offset = 0
    for number, raw in enumerate(lines(count), 1):
        BatchRow.objects.create(batch=batch, number=number, custom_id=f"row-{number}", offset=offset, length=len(raw) - 1)
        offset += len(raw)
    chunk = BatchChunk.objects.create(batch=batch, first=1, last=count)
    body = '{"choices":[{"message":{"content":"=1+1 <b>bold</b>"}}]}'
    done = [RowResult(number=n, state=1, status_code=200, response=body, duration_ms=5, usage=Usage(7, 3)) for n in range(1, count)]
    failed = RowResult(number=count, state=2, status_code=400, error_code="bad_thing", error_message="<script>no</script>")
    results.commit(work=chunk, results=[*done, failed], finished=True)
    Batch.objects.filter(pk=batch.pk).update(status="completed", completed_at="2026-01-01T00:00:00Z")
    batch.refresh_from_db()
    return batch


def test_an_uploaded_file_becomes_a_batch(as_owner: Client) -> None:
    response = as_owner.post("/batches/new/", {"file": upload(line("a")), "executor": "local"})
    batch = Batch.objects.get()
    assert (response.status_code, response["Location"]) == (302, f"/batches/{batch.pk}/")
    assert (batch.status, batch.executor, batch.concurrency) == ("validating", "local", 32)
    assert batch.input_file is not None
    assert batch.input_file.path.read_bytes() == line("a")
