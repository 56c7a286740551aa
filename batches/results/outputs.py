"""Generate output and error files and the joined CSV from the rows, on request."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import jiter
from django.db.models import QuerySet

from batches import selectors
from batches.models import Batch, BatchRow, File
from webapp.patterns.batch.results import output_line
from webapp.patterns.responses.objects import output_text
from webapp.patterns.types import Json

State = BatchRow.State
PIECE_BYTES = 256 * 1024
PAGE_ROWS = 500
UNSENT = {
    State.CANCELLED: ("batch_cancelled", "This request was not executed: the batch was cancelled."),
    State.EXPIRED: ("batch_expired", "This request could not be executed before the completion window expired."),
}
UNUSABLE = "output_"
"""The prefix of error codes of answers that do not match their schema. Such rows have a response and an error."""
FIELDS = ("number", "custom_id", "state", "status_code", "error_code", "error_message", "response")


def kind_of(file: File) -> tuple[Batch, bool]:
    """Return the batch of a generated file, and whether it holds the successful rows."""
    good = file.content == File.Content.OUTPUT
    return (Batch.objects.get(output_file=file) if good else Batch.objects.get(error_file=file)), good


def lines(batch: Batch, *, good: bool) -> Iterator[bytes]:
    """Return the lines of the output file (`good`) or the error file, in input order; for a running batch, those that exist."""
    rows = batch.rows.filter(state=State.OK) if good else batch.rows.exclude(state__in=(State.OK, State.PENDING))
    for row in by_pages(rows.only(*FIELDS, "batch_id")):
        yield line_of(row)


def merged_lines(batch: Batch) -> Iterator[bytes]:
    """Yield one line for each row of the first run, in input order: its own result, or the newest successful one of its retries."""
    for row in merged_rows(batch):
        if row.state != State.PENDING:
            yield line_of(row)


def merged_rows(batch: Batch) -> Iterator[BatchRow]:
    """Yield the rows of the first run of `batch`. A row that a retry answered has the result of that retry, under its own number."""
    first = selectors.first_run(batch)
    retries = selectors.retries_of(first)
    last = 0
    while page := list(first.rows.filter(number__gt=last).order_by("number")[:PAGE_ROWS]):
        last = page[-1].number
        missing = [row.custom_id for row in page if row.state != State.OK]
        answers = BatchRow.objects.filter(batch__in=retries, custom_id__in=missing, state=State.OK) if missing and retries else ()
        found = {row.custom_id: row for row in answers}
        yield from (found.get(row.custom_id, row) if row.state != State.OK else row for row in page)


def by_pages(rows: QuerySet[BatchRow]) -> Iterator[BatchRow]:
    """Yield all rows in input order, page by page. No cursor stays open between pages, so any thread may fetch the next."""
    last = 0
    while page := list(rows.filter(number__gt=last).order_by("number")[:PAGE_ROWS]):
        yield from page
        last = page[-1].number


def line_of(row: BatchRow) -> bytes:
    """Return one row as a line of the output or error file."""
    error: Json | None = None
    if row.state in UNSENT:
        code, message = UNSENT[State(row.state)]
        error = {"code": code, "message": message}
    elif row.state != State.OK and (not row.response or row.error_code.startswith(UNUSABLE)):
        error = {"code": row.error_code, "message": row.error_message}
    return output_line(row.request_id, row.custom_id, status=row.status_code, raw=row.response.encode(), error=error)


def size(batch: Batch, *, good: bool) -> int:
    """Return the size of the output or error file in bytes."""
    return sum(map(len, lines(batch, good=good)))


def pieces(parts: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the same bytes in fewer pieces, for sending."""
    buffer = bytearray()
    for part in parts:
        buffer += part
        if len(buffer) >= PIECE_BYTES:
            yield bytes(buffer)
            buffer.clear()
    if buffer:
        yield bytes(buffer)


def content(file: File) -> Iterator[bytes]:
    """Yield the bytes of any file in pieces."""
    if file.content == File.Content.STORED:
        with file.path.open("rb") as source:
            while piece := source.read(PIECE_BYTES):
                yield piece
        return
    batch, good = kind_of(file)
    yield from pieces(lines(batch, good=good))


def joined_csv(batch: Batch) -> Iterator[bytes]:
    """Yield one line per row: request, result, and cost. Waiting rows are included without an answer."""
    yield from _csv_lines(batch, by_pages(batch.rows.all()))


def merged_csv(batch: Batch) -> Iterator[bytes]:
    """Yield the same for the first run of a batch, with the answers of its retries."""
    first = selectors.first_run(batch)
    yield from _csv_lines(first, merged_rows(batch))


def _csv_lines(batch: Batch, rows: Iterator[BatchRow]) -> Iterator[bytes]:
    yield "\ufeff".encode() + _csv(
        ["custom_id", "status", "prompt", "answer", "error", "backend", "model", "prompt_tokens", "completion_tokens"]
    )
    source = batch.input_file.path.open("rb") if batch.input_file and batch.input_file.path.exists() else None
    try:
        for row in rows:
            request = read_request(source, row) if row.batch_id == batch.pk else _retried_request(row)
            yield _csv(
                [
                    row.custom_id,
                    row.get_state_display(),
                    prompt_of(request),
                    answer_of(row),
                    row.error_message or row.error_code,
                    row.backend,
                    row.model,
                    row.prompt_tokens,
                    row.completion_tokens,
                ]
            )
    finally:
        if source:
            source.close()


def read_request(source: io.BufferedReader | None, row: BatchRow) -> Json | None:
    """Return the row's line of the input file; None if the file is deleted."""
    if source is None:
        return None
    source.seek(row.offset)
    line: Json = jiter.from_json(source.read(row.length))
    return line


def _retried_request(row: BatchRow) -> Json | None:
    """Return the request of a row of a retry, whose input file is another one."""
    file = row.batch.input_file
    if file is None or not file.path.exists():
        return None
    with file.path.open("rb") as source:
        return read_request(source, row)


def prompt_of(request: Json | None) -> str:
    """Return the request as text: the last user message, the prompt, or the input."""
    body = _object(_object(request).get("body"))
    asked = body.get("prompt", body.get("input"))
    for message in map(_object, _list(body.get("messages"))):
        if message.get("role") == "user":
            asked = message.get("content")
    return asked if isinstance(asked, str) else "" if asked is None else json.dumps(asked, ensure_ascii=False)


def answer_of(row: BatchRow) -> str:
    """Return the answer as text, also one that does not match its schema; for embeddings, their number and dimension."""
    if not row.response or not (row.state == State.OK or row.error_code.startswith(UNUSABLE)):
        return ""
    body = _object(jiter.from_json(row.response.encode()))
    if choices := _list(body.get("choices")):
        choice = _object(choices[0])
        message = _object(choice.get("message"))
        return str(message.get("content") or choice.get("text") or message.get("refusal") or "")
    if _list(body.get("output")):
        return output_text(body)
    if blocks := _list(body.get("content")):
        return "".join(str(_object(block).get("text") or "") for block in blocks)
    vectors = [_object(item).get("embedding") for item in _list(body.get("data"))]
    return f"{len(vectors)} embeddings of {len(vectors[0])} dimensions" if vectors and isinstance(vectors[0], list) else ""


def _object(value: Any) -> Json:
    """Return a part of a server's answer as an object; anything else becomes an empty object."""
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def _csv(values: list[object]) -> bytes:
    """Return a line of CSV. A cell that a spreadsheet would run as a formula gets an apostrophe."""
    line = io.StringIO()
    safe = [f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value for value in values]
    csv.writer(line).writerow(safe)
    return line.getvalue().encode()
