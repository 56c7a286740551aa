"""Put the answers of a batch into a searchable collection."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice

from batches.models import Batch, BatchRow
from batches.results import outputs
from webapp.patterns.batch.input_file import compact
from webapp.patterns.errors import InputError
from webapp.ports.text_collections import Files, collector

ROWS_A_DOCUMENT = 1000
MAX_CHARS = 10_000
"""Characters kept of a question or an answer, so that the rows of a document fit into one that search can read."""


def can_be_searched(batch: Batch) -> bool:
    """Return whether there are text answers, and an app that can search them."""
    return batch.has_output and not batch.endpoint.endswith("embeddings") and collector() is not None


def index(*, batch: Batch) -> str:
    """Index the successful answers with their requests; return the address of the collection.

    A second call adds newer answers: documents hold fixed runs of rows, and a changed document replaces its old version.

    Raises:
        InputError: there is nothing to search.
    """
    collect = collector()
    if collect is None or not can_be_searched(batch):
        raise InputError("This batch has no text answers to search.", code="nothing_to_search")
    return collect(batch.user, f"{batch.title[:90]} {batch.id.hex[:6]}", _documents(batch))


def _documents(batch: Batch) -> Files:
    for first in range(1, batch.total + 1, ROWS_A_DOCUMENT):
        last = min(first + ROWS_A_DOCUMENT - 1, batch.total)
        lines = _lines(batch, first, last)
        begun = list(islice(lines, 1))
        if begun:
            yield f"Rows {first} to {last}.jsonl", chain(begun, lines)


def _lines(batch: Batch, first: int, last: int) -> Iterator[bytes]:
    """Yield a line of JSON for each successful answer: its name, request, and answer, in the table format of search."""
    rows = batch.rows.filter(state=BatchRow.State.OK, number__range=(first, last)).order_by("number")
    file = batch.input_file
    source = file.path.open("rb") if file and file.path.exists() else None
    try:
        for row in rows:
            asked = outputs.prompt_of(outputs.read_request(source, row))
            texts = {"custom_id": row.custom_id, "asked": asked[:MAX_CHARS], "answer": outputs.answer_of(row)[:MAX_CHARS]}
            yield compact(texts) + b"\n"
    finally:
        if source:
            source.close()
