"""Prepare a batch and a row for the templates."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import jiter

from batches import selectors
from batches.forms import pretty
from batches.models import Batch, BatchRow
from batches.results import charts, outputs, text_collection
from webapp.patterns.curl.commands import to_curl
from webapp.patterns.types import Json

Status = Batch.Status
SHOWN_ERRORS = 200
SHOWN_CHARS = 100_000
BADGES = {
    Status.VALIDATING: "run",
    Status.IN_PROGRESS: "run",
    Status.FINALIZING: "run",
    Status.CANCELLING: "warn",
    Status.COMPLETED: "ok",
    Status.FAILED: "bad",
    Status.EXPIRED: "bad",
    Status.CANCELLED: "warn",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a batch. `state` is done, now, next, or the way it ended."""

    label: str
    state: str
    at: Any = None


def steps(batch: Batch) -> list[Step]:
    """Return the steps: validating, in progress, finalizing, and the end."""
    created, begun, finalizing, completed = map(batch.step_at, ("created_at", "in_progress_at", "finalizing_at", "completed_at"))
    way = [("Validating", created, begun), ("In progress", begun, finalizing), ("Finalizing", finalizing, completed)]
    shown = [Step(label, _state(began, ended, batch), began) for label, began, ended in way]
    if batch.ended_at is None:
        return [*shown, Step("Completed", "next")]
    good = batch.status == Status.COMPLETED and not batch.all_failed
    label = "All rows failed" if batch.all_failed else batch.get_status_display()
    return [*shown, Step(label, "done" if good else "bad", batch.step_at(f"{Status(batch.status).value}_at"))]


def _state(began: Any, ended: Any, batch: Batch) -> str:
    if began is None:
        return "next" if batch.is_active else "skipped"
    return "done" if ended or batch.ended_at else "now"


def monitor(batch: Batch) -> Json:
    """Return the context of the polled part of the page."""
    return {
        "batch": batch,
        "badge": BADGES[Status(batch.status)],
        "steps": steps(batch),
        "progress": selectors.progress(batch),
        "charts": charts.batch_charts(selectors.timeline(batch)),
        "failures": selectors.failures(batch),
        "elapsed_ms": selectors.elapsed_ms(batch),
        "ended_rate": selectors.ended_rate(batch),
        "estimate": batch.estimate,
        "shown_errors": batch.errors[:SHOWN_ERRORS],
        "more_errors": max(0, len(batch.errors) - SHOWN_ERRORS),
        "parts": selectors.parts(batch),
        "can_be_searched": text_collection.can_be_searched(batch),
        "can_retry": not batch.is_active and batch.failed > 0,
        "merges": selectors.has_retries(batch),
    }


def row_detail(batch: Batch, row: BatchRow, *, base_url: str) -> Json:
    """Return the context of one opened row."""
    request = _request(batch, row)
    body = (request or {}).get("body")
    return {
        "batch": batch,
        "row": row,
        "answer": outputs.answer_of(row)[:SHOWN_CHARS],
        "request": pretty(body)[:SHOWN_CHARS] if body else "",
        "response": _pretty_text(row.response)[:SHOWN_CHARS],
        "attempts": json.loads(row.attempts) if row.attempts else [],
        "curl": to_curl(body, base_url, batch.endpoint.removeprefix("/v1/")) if body else "",
    }


def _request(batch: Batch, row: BatchRow) -> Json | None:
    file = batch.input_file
    if file is None or not file.path.exists():
        return None
    with file.path.open("rb") as source:
        return outputs.read_request(source, row)


def _pretty_text(text: str) -> str:
    try:
        return pretty(jiter.from_json(text.encode())) if text else ""
    except ValueError:
        return text
