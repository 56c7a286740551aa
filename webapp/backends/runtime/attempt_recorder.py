"""Queue attempts and write them behind in bulk, in one transaction; learn health and flags from them."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple, Self

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import DataError, Error, IntegrityError, transaction

from webapp.backends.models import ApiToken, Attempt
from webapp.backends.rollouts.mirroring import Mirrors
from webapp.backends.runtime import health
from webapp.core import bulk, genai_metrics, metrics, tracing
from webapp.core.database import in_database
from webapp.patterns import sanitize, types
from webapp.patterns.types import AttemptLog

logger = logging.getLogger("patchbay.backends")
FLUSH_SECONDS = 0.5
MAX_TOKENS = 2**31 - 1
MAX_COST = 999_999.0
MAX_QUEUED = 100_000
"""Maximum queue while the database is down, about 50 MB. Beyond it the oldest are dropped, and a log line says so."""


@dataclass(frozen=True, slots=True)
class Origin:
    """The source of a request: the same for all its attempts, and for all requests of a batch."""

    source: str
    user_id: int | None
    token_id: int | None
    route: str
    endpoint: str

    @classmethod
    def clean(cls, source: str, user_id: int | None, token_id: int | None, route: str, endpoint: str) -> Self:
        """Return a copy with texts that every database accepts."""
        return cls(_text(source, 16), user_id, token_id, _text(route, 300), _text(endpoint, 64))


class Row(NamedTuple):
    """The columns of an attempt."""

    request_id: uuid.UUID
    created_at: datetime
    source: str
    user_id: int | None
    token_id: int | None
    route: str
    endpoint: str
    backend: str
    model: str
    outcome: str
    error: str
    why: str
    status: int | None
    first_token_ms: float | None
    duration_ms: float | None
    prompt_tokens: int
    completion_tokens: int
    estimated: bool
    cost: Decimal | None


class Recorder:
    """The queue of one event loop."""

    def __init__(self, mirrors: Mirrors | None = None) -> None:
        self._mirrors = mirrors
        self._queue: deque[Row] = deque()
        self._lock = asyncio.Lock()
        self._serviced = False
        self._lone: asyncio.Task[None] | None = None
        self._lost = 0

    def put(self, of: Origin, trail: AttemptLog, request_id: uuid.UUID) -> None:
        """Queue the attempts of a finished request."""
        self._queue.extend([_row(attempt, of, request_id) for attempt in trail.attempts])
        _tell_observers(trail, of, request_id)
        if self._mirrors and trail.mirrored:
            self._mirrors.offer(trail, of.route)
        while len(self._queue) > MAX_QUEUED:
            self._queue.popleft()
            self._lost += 1
        if not self._serviced and (self._lone is None or self._lone.done()):
            self._lone = asyncio.get_running_loop().create_task(self._flush_soon())

    async def _flush_soon(self) -> None:
        """Flush without the service: in a command, a worker, or a test."""
        await asyncio.sleep(FLUSH_SECONDS)
        await self.flush()

    async def flush(self) -> None:
        """Write everything queued. Attempts that the database rejects now stay queued."""
        async with self._lock:
            values = list(self._queue)
            if not values:
                return
            self._queue.clear()
            try:
                await asyncio.shield(in_database(write_what_can_be, values))
            except Error as error:
                self._queue.extendleft(reversed(values))
                logger.error("%d attempts wait for the database: %s", len(values), error)  # noqa: TRY400 - every few seconds
        if self._lost:
            logger.error("%d attempts were lost: the database was away for too long", self._lost)
            self._lost = 0

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None, None]:
        """Flush every `FLUSH_SECONDS`, and at the end."""
        self._serviced = True
        stop = asyncio.Event()
        task = asyncio.create_task(self._flush_until(stop))
        try:
            yield
        finally:
            self._serviced = False
            stop.set()  # not cancelled: wait for a write in progress
            await task
            await self.flush()

    async def _flush_until(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), FLUSH_SECONDS)
            await self.flush()


def _tell_observers(trail: AttemptLog, of: Origin, request_id: uuid.UUID) -> None:
    """Count and trace the attempts, if metrics or traces are on."""
    if settings.METRICS_TOKEN:
        for attempt in trail.attempts:
            metrics.observe(attempt, source=of.source)
    if tracing.is_on():
        answer = "".join(trail.answer or ())
        tracing.trace(trail.attempts, source=of.source, route=of.route, endpoint=of.endpoint, request_id=str(request_id), answer=answer)
    if genai_metrics.is_on():
        genai_metrics.observe(trail.attempts, endpoint=of.endpoint)


def _row(attempt: types.Attempt, of: Origin, request_id: uuid.UUID) -> Row:
    """Return an attempt as a row with its present values; it may still change."""
    return Row(
        request_id=request_id,
        created_at=datetime.fromtimestamp(attempt.started, UTC),
        source=of.source,
        user_id=of.user_id,
        token_id=of.token_id,
        route=of.route,
        endpoint=of.endpoint,
        backend=_text(attempt.backend, 64),
        model=_text(attempt.model, 200),
        outcome=attempt.outcome,
        error=attempt.error[:40],
        why=_text(attempt.detail or attempt.why, 1000),
        status=attempt.status,
        first_token_ms=attempt.first_token_ms,
        duration_ms=attempt.duration_ms,
        prompt_tokens=_count(attempt.usage.prompt_tokens),
        completion_tokens=_count(attempt.usage.completion_tokens),
        estimated=attempt.usage.estimated,
        cost=None if attempt.cost is None else Decimal(f"{min(max(attempt.cost, 0), MAX_COST):.8f}"),
    )


def _text(value: str, length: int) -> str:
    """Return foreign text that every database accepts."""
    return (value if value.isascii() and "\0" not in value else sanitize.text(value))[:length]


def _count(tokens: int) -> int:
    """Limit a token count to the column's range, because a server may claim any number."""
    return min(max(tokens, 0), MAX_TOKENS)


def write_what_can_be(rows: Sequence[Row]) -> None:
    """Write all attempts together; if one is invalid, write them one by one without it.

    Raises:
        OperationalError: the database is down.
    """
    try:
        write(rows)
    except (IntegrityError, DataError, ValueError, OverflowError):
        logger.exception("Attempts could not be written together")
        for row in rows:
            try:
                write([row])
            except (IntegrityError, DataError, ValueError, OverflowError):
                logger.exception("An attempt was lost: %s/%s", row.backend, row.model)


def write(rows: Sequence[Row]) -> None:
    """Write attempts and the health that they show, in one transaction."""
    with transaction.atomic():
        users = _absent(get_user_model(), {row.user_id for row in rows})
        tokens = _absent(ApiToken, {row.token_id for row in rows})
        if users or tokens:
            rows = [_without(row, users, tokens) for row in rows]
        bulk.insert(Attempt, Row._fields, rows)
        health.learn(rows)


def _absent(model: Any, ids: set[int | None]) -> set[int]:
    """Return the ids that no longer exist: an account may be deleted between a request and its record."""
    wanted = {pk for pk in ids if pk is not None}
    return wanted - set(model.objects.filter(pk__in=wanted).values_list("pk", flat=True)) if wanted else wanted


def _without(row: Row, users: set[int], tokens: set[int]) -> Row:
    return row._replace(
        user_id=None if row.user_id in users else row.user_id,
        token_id=None if row.token_id in tokens else row.token_id,
    )
