"""Judge running canaries by their attempts, and roll them back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import Final

from django.db import transaction
from django.utils import timezone

from webapp.backends.models import Attempt, Rollout, RouteStep
from webapp.core.background import run_tasks
from webapp.core.database import in_database

logger = logging.getLogger("patchbay.backends")
CHECK_SECONDS: Final = 5.0
NEWEST: Final = 500
"""Attempts read of each step."""
MIN_TIMES: Final = 10
"""Answers of both sides before their latencies are compared."""


@dataclass(frozen=True, slots=True)
class Side:
    """How one side fared. `latency_ms` is the median time to the first token, or of whole answers where none was streamed."""

    attempts: int
    failed: int
    latency_ms: float | None
    timed: int

    @property
    def error_rate(self) -> float:
        """Return the share of failed attempts in percent."""
        return 100 * self.failed / self.attempts if self.attempts else 0.0


def sides(rollout: Rollout) -> tuple[Side, Side]:
    """Return how the candidate and the route's own first group fared since the start."""
    own = RouteStep.objects.filter(route=rollout.route_id).order_by("group").values_list("backend__name", "model", "group")
    first = [(backend, model) for backend, model, group in own if group == own[0][2]]
    candidate = (rollout.backend.name, rollout.model)
    return _side(rollout, [candidate]), _side(rollout, [step for step in first if step != candidate])


def _side(rollout: Rollout, steps: Iterable[tuple[str, str]]) -> Side:
    rows: list[tuple[str, float | None, float | None]] = []
    for backend, model in steps:
        found = Attempt.objects.filter(backend=backend, created_at__gte=rollout.started_at, route=rollout.route.name, model=model)
        kept = found.exclude(outcome__in=("skipped", "cancelled")).exclude(source__in=("mirror", "test"))
        rows += kept.values_list("outcome", "first_token_ms", "duration_ms")[:NEWEST]
    firsts = [first for outcome, first, _whole in rows if outcome == "ok" and first is not None]
    wholes = [whole for outcome, first, whole in rows if outcome == "ok" and first is None and whole is not None]
    times: Sequence[float] = firsts if len(firsts) >= len(wholes) else wholes
    failed = sum(outcome != "ok" for outcome, _first, _whole in rows)
    return Side(len(rows), failed, median(times) if times else None, len(times))


def problem(rollout: Rollout, candidate: Side, stable: Side) -> str:
    """Return why a canary must be rolled back; empty if it may go on."""
    if candidate.attempts < rollout.min_samples:
        return ""
    if candidate.error_rate > stable.error_rate + rollout.max_error_rise:
        return (
            f"{candidate.error_rate:.1f} % of {candidate.attempts} attempts failed, "
            f"against {stable.error_rate:.1f} % of {stable.attempts} at the route's own steps."
        )
    if min(candidate.timed, stable.timed) < MIN_TIMES or candidate.latency_ms is None or stable.latency_ms is None:
        return ""
    if candidate.latency_ms > stable.latency_ms * rollout.max_latency_ratio:
        return f"The median latency is {candidate.latency_ms:.0f} ms, against {stable.latency_ms:.0f} ms at the route's own steps."
    return ""


def check_all() -> list[Rollout]:
    """Roll back the running canaries that fare badly, and return them."""
    running = Rollout.objects.filter(kind=Rollout.Kind.CANARY, state=Rollout.State.RUNNING).select_related("route", "backend")
    judged = [(rollout, problem(rollout, *sides(rollout))) for rollout in running]
    return [rollout for rollout, why in judged if why and _roll_back(rollout, why)]


@transaction.atomic
def _roll_back(rollout: Rollout, why: str) -> bool:
    """End a rollout; return False if another process was first."""
    locked = Rollout.objects.select_for_update().filter(pk=rollout.pk, state=Rollout.State.RUNNING).first()
    if locked is None:
        return False
    locked.state, locked.note, locked.ended_at = Rollout.State.ROLLED_BACK, why, timezone.now()
    locked.save(update_fields=["state", "note", "ended_at"])
    logger.warning("The canary of %s to %s is rolled back: %s", rollout.route.name, rollout.candidate, why)
    return True


@asynccontextmanager
async def service() -> AsyncGenerator[None]:
    """Judge the canaries every few seconds, as a background service."""
    async with run_tasks(canaries=_keep_checking):
        yield


async def _keep_checking() -> None:
    while True:
        await in_database(check_all)
        await asyncio.sleep(CHECK_SECONDS)
