"""Estimate the cost and time of a batch before anything is sent. Tokens are counted on a sample and scaled."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import BinaryIO

import jiter
from django.db.models import Avg

from batches.models import File
from webapp.backends.models import Attempt, Backend
from webapp.patterns.batch.input_file import REMOTE_DISCOUNT, Line, Validated
from webapp.patterns.tokens import counting
from webapp.patterns.types import Json

SAMPLE = 200
USUAL_ANSWER_TOKENS = 256
RECENT = 10_000
PER_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """Tokens of all rows; the cost if the backend has prices; the time in ms if the model's usual time is known.

    `answer_limit` is the sum of the limits in the rows. Without limits, `USUAL_ANSWER_TOKENS` per row are assumed.
    """

    rows: int
    prompt_tokens: int
    completion_tokens: int
    sampled: int
    exact: bool
    answer_limit: bool
    cost: float | None = None
    remote_cost: float | None = None
    time_ms: float | None = None

    def as_json(self) -> Json:
        """Return the estimate as a JSON object."""
        return asdict(self)


def estimate(file: File, checked: Validated, *, backend: str, model: str, concurrency: int) -> Estimate:
    """Estimate a validated file. CPU-bound, and reads the database: call it off the event loop."""
    with file.path.open("rb") as source:
        sample = [jiter.from_json(_read(source, line))["body"] for line in spread(checked.lines, SAMPLE)]
    return of_sample(sample, rows=len(checked.lines), backend=backend, model=model, concurrency=concurrency)


def _read(source: BinaryIO, line: Line) -> bytes:
    source.seek(line.offset)
    return source.read(line.length)


def spread(lines: Sequence[Line], most: int) -> Sequence[Line]:
    """Return at most `most` lines, spread evenly over the file."""
    step = max(1, -(-len(lines) // most))
    return lines[::step]


def of_sample(sample: Sequence[Json], *, rows: int, backend: str, model: str, concurrency: int) -> Estimate:
    """Estimate `rows` rows from a sample of their bodies."""
    counts = [_count(body, model) for body in sample]
    share = rows / max(1, len(sample))
    prompt = round(sum(count for count, _, _ in counts) * share)
    limits = [limit for _, limit, _ in counts if limit]
    bounded = bool(counts) and len(limits) == len(counts)
    answers = sum(limits) if bounded else USUAL_ANSWER_TOKENS * len(sample)
    has_answers = not any("input" in body for body in sample[:1])  # embeddings are vectors
    completion = round(answers * share) if has_answers else 0
    cost = _cost(backend, model, prompt, completion)
    return Estimate(
        rows=rows,
        prompt_tokens=prompt,
        completion_tokens=completion,
        sampled=len(sample),
        exact=all(exact for _, _, exact in counts) and len(sample) == rows,
        answer_limit=bounded,
        cost=cost,
        remote_cost=None if cost is None else cost * REMOTE_DISCOUNT,
        time_ms=_time_ms(backend, model, rows, concurrency),
    )


def _count(body: Json, model: str) -> tuple[int, int | None, bool]:
    """Return (prompt tokens, limit of the answer, whether the count is exact) of one request."""
    limit = body.get("max_completion_tokens") or body.get("max_tokens") or body.get("max_output_tokens")
    limit = limit if isinstance(limit, int) and limit > 0 else None
    if "messages" in body:
        count = counting.count_messages(body["messages"], model, body.get("tools") or ())
        return count.tokens, limit, count.exact
    asked = body.get("prompt") or body.get("input") or ""
    texts = asked if isinstance(asked, list) else [asked]
    total = sum(counting.count_text(text if isinstance(text, str) else json.dumps(text), model) for text in texts)
    return total, limit, counting.is_exact(model)


def prices(backend: str, model: str) -> tuple[Decimal, Decimal] | None:
    """Return (input, output) prices per million tokens of a model on a backend; None if none are entered."""
    row = Backend.objects.filter(name=backend).first()
    if row is None:
        return None
    own = row.offered.filter(name=model).first()
    for source in (own, row):
        if source is not None and source.input_price is not None and source.output_price is not None:
            return source.input_price, source.output_price
    return None


def _cost(backend: str, model: str, prompt: int, completion: int) -> float | None:
    known = prices(backend, model)
    return None if known is None else float(known[0] * prompt + known[1] * completion) / PER_MILLION


def _time_ms(backend: str, model: str, rows: int, concurrency: int) -> float | None:
    """Estimate the time from the model's last hundred answers among the backend's newest attempts."""
    newest = Attempt.objects.filter(backend=backend).values("pk")[:RECENT]
    last = Attempt.objects.filter(pk__in=newest, model=model, outcome="ok").values("duration_ms")[:100]
    usual = last.aggregate(usual=Avg("duration_ms"))["usual"]
    return None if usual is None else max(1, rows / concurrency) * usual
