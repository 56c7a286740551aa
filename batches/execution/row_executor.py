"""Execute one row: read its request from the input file, send it through the chain, and return its answer or failure as a result."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from json.encoder import encode_basestring

import jiter
from django.db import Error
from django.utils import timezone

from batches.execution.results import RowResult
from batches.models import Batch, BatchRow
from webapp.backends.runtime import registry
from webapp.backends.runtime.rate_limits import Admission, admit
from webapp.patterns import sanitize
from webapp.patterns.backend import Backend
from webapp.patterns.batch.parallel import ParallelResult
from webapp.patterns.batch.results import on_one_line
from webapp.patterns.errors import AllFailed, BackendError, ChainError, LimitReached, OutputError, PatternError
from webapp.patterns.messages import check_request, to_request
from webapp.patterns.messages import complete as complete_message
from webapp.patterns.openai.decoder import read_usage
from webapp.patterns.responses.whole import complete as complete_response
from webapp.patterns.types import NO_USAGE, Attempt, AttemptLog, Json, Request, Response, Usage

AWAY_SECONDS = 2.0
SPARE = 0.2
"""The part of a limit that a batch leaves for its user's chat and API."""
Resolve = Callable[[str], Awaitable[Backend]]


@dataclass(slots=True, eq=False)
class RowTask:
    """One running row. `trail` collects the attempts of all its tries."""

    chunk_id: int
    number: int
    custom_id: str
    offset: int
    length: int
    trail: AttemptLog = field(default_factory=AttemptLog)
    began: float = 0.0


def recording(batch: Batch) -> Callable[[AttemptLog, uuid.UUID], None]:
    """Return a function that records the attempts of a batch's rows for usage and budgets."""
    return registry.recording(source="batch", user_id=batch.user_id, route=batch.model, endpoint=batch.endpoint.removeprefix("/v1/"))


class RowExecutor:
    """Send the rows of one batch.

    Args:
        resolve: returns the chain for a model name. Called for each row, so that a configuration change applies from the next row on.
        record: called with the trail of each finished row.
    """

    def __init__(self, batch: Batch, *, resolve: Resolve, record: Callable[[AttemptLog, uuid.UUID], None]) -> None:
        assert batch.input_file is not None
        self._batch = batch
        self._path = batch.endpoint.removeprefix("/v1/")
        self._resolve = resolve
        self._record = record
        self._source = os.open(batch.input_file.path, os.O_RDONLY)
        self._request_ids = uuid.uuid4().int >> 32 << 32  # not secret: a random id per row would cost ten times a sum

    def close(self) -> None:
        """Close the input file."""
        os.close(self._source)

    async def __call__(self, job: RowTask) -> Response:
        """Return the answer to one row; raise the errors of the chain."""
        job.began = job.began or time.monotonic()
        body = self.request(job)["body"]
        chain, admission = await self._admitted(body["model"])
        tried = len(job.trail.attempts)
        try:
            return await self._send(chain, Request(body, self._path), job.trail)
        finally:
            if admission.limits:
                await admission.settle(job.trail, since=tried)

    async def _admitted(self, model: str) -> tuple[Backend, Admission]:
        """Return the chain, and take room in the user's limits. An unreachable database is waited for like a limit, so no row fails."""
        try:
            return await self._resolve(model), await admit(self._batch.user_id, spare=SPARE)
        except Error as error:
            raise LimitReached("The database is away.", rule="the database is away", retry_after=AWAY_SECONDS) from error

    async def _send(self, chain: Backend, request: Request, trail: AttemptLog) -> Response:
        if self._path == "responses":
            return await complete_response(chain, request.body, trail=trail)
        if self._path == "messages":
            check_request(request.body)
            return await complete_message(chain, to_request(request.body), trail=trail)
        if self._batch.schema is None:
            return await chain.send(request, trail=trail)
        return await _structured(chain, request, self._batch.schema, trail)

    def request(self, job: RowTask) -> Json:
        """Return the decoded line of the input file."""
        line: Json = jiter.from_json(os.pread(self._source, job.length, job.offset), cache_mode="keys")
        return line

    def result(self, outcome: ParallelResult[RowTask, Response]) -> RowResult:
        """Return the stored result of a finished row."""
        job = outcome.item
        self._record(job.trail, uuid.UUID(int=self._request_ids + job.number))
        if outcome.value is not None:
            return self._answered(job, outcome.value, outcome.attempts)
        assert outcome.error is not None
        return _failed(job, outcome.error, outcome.attempts)

    def _answered(self, job: RowTask, answer: Response, tries: int) -> RowResult:
        served = job.trail.served_by
        told = served.usage if served and self._batch.schema is None else read_usage(answer.body)
        return RowResult(
            number=job.number,
            state=BatchRow.State.OK,
            status_code=200,
            backend=served.backend if served else "",
            model=served.model if served else "",
            tries=tries,
            usage=NO_USAGE if told is None or told.estimated else told,
            cost=job.trail.cost,
            duration_ms=(time.monotonic() - job.began) * 1000,
            attempts=_attempts(job.trail),
            response=on_one_line(answer.raw).decode(errors="replace"),
            finished_at=timezone.now(),
        )


async def _structured(chain: Backend, request: Request, schema: Json, trail: AttemptLog) -> Response:
    """Return an answer that matches the schema; ask again a bounded number of times."""
    from webapp.patterns.agent import structured

    parsed = await structured.parse(chain, request, schema, trail=trail)
    body = _completion(request.body["model"], parsed.raw, parsed.usage)
    return Response(json.dumps(body, ensure_ascii=False).encode(), body)


def _completion(model: str, text: str, usage: Usage) -> Json:
    """Return an answer as a chat completion."""
    return {
        "id": f"chatcmpl-{uuid.uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": _usage_json(usage),
    }


def _usage_json(usage: Usage) -> Json:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
    }


def _failed(job: RowTask, error: Exception, tries: int) -> RowResult:
    last = job.trail.attempts[-1] if job.trail.attempts else None
    code, status, body = _reason(error)
    if isinstance(error, OutputError) and error.raw:  # the answer that does not match the schema: people fix their prompt with it
        status, body = 200, _completion(last.model if last else "", error.raw, error.usage)
    return RowResult(
        number=job.number,
        state=BatchRow.State.FAILED,
        status_code=status,
        error_code=code,
        error_message=_message(error),
        backend=last.backend if last else "",
        model=last.model if last else "",
        tries=tries,
        usage=job.trail.usage,
        cost=job.trail.cost,
        duration_ms=(time.monotonic() - job.began) * 1000,
        attempts=_attempts(job.trail),
        response=json.dumps(body, ensure_ascii=False) if body else "",
        finished_at=timezone.now(),
    )


def _message(error: Exception) -> str:
    """Return the message for users. For an unexpected error only its type, because its text may contain anything."""
    text = error.message if isinstance(error, PatternError) else f"Unexpected {type(error).__name__}"
    return text.replace("\0", "")


def _reason(error: Exception) -> tuple[str, int | None, Json | None]:
    """Return (code, HTTP status, response body). Status and body are set only if a server answered."""
    if isinstance(error, AllFailed) and error.cause is not None:
        error = error.cause
    if isinstance(error, BackendError):
        code = _snake(type(error).__name__)
        if error.status is None:
            return code, None, None
        detail = error.body or {"message": error.message, "type": code, "param": None, "code": None}
        detail = detail.get("error", detail)
        given = detail.get("code") if isinstance(detail, dict) else None
        return str(given or code), error.status, {"error": detail}
    if isinstance(error, ChainError):
        return error.code, None, None
    return _snake(type(error).__name__) if isinstance(error, OutputError | PatternError) else "internal_error", None, None


def _snake(name: str) -> str:
    return "".join(f"_{char.lower()}" if char.isupper() else char for char in name).lstrip("_")


def _attempts(trail: AttemptLog) -> str:
    return f"[{','.join(map(_attempt, trail.attempts))}]"


def _attempt(attempt: Attempt) -> str:
    """Format an attempt as JSON by hand: a general encoder takes three times as long, for every row."""
    backend, model, why = _string(attempt.backend), _string(attempt.model), _string(attempt.why)
    status = "null" if attempt.status is None else attempt.status
    ms = round(attempt.duration_ms or 0, 1)
    return f'{{"backend":{backend},"model":{model},"outcome":"{attempt.outcome}","why":{why},"status":{status},"ms":{ms}}}'


def _string(text: str) -> str:
    return encode_basestring(sanitize.clean(text))


def make_executor(batch: Batch) -> RowExecutor:
    """Return an executor that sends a batch's rows through the routes of its user and records the attempts."""
    from webapp.backends.runtime import registry

    return RowExecutor(batch, resolve=partial(registry.resolve, user=batch.user), record=recording(batch))
