"""Send copies of answered requests to the candidate of a mirror, and store the differences.

A copy starts after the user has the whole answer, so it delays nothing. It is dropped if the candidate is busy or too many copies run. Its
attempts are recorded with the source `mirror` and without a user: no budget, limit or usage of a person counts them.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Final

from django.db import Error, IntegrityError
from django.db.models import F

from webapp.backends.models import MirrorSample, Rollout
from webapp.backends.rollouts.comparison import similarity
from webapp.core.database import in_database
from webapp.patterns import sanitize
from webapp.patterns.errors import PatternError
from webapp.patterns.streaming import Accumulator
from webapp.patterns.types import Attempt, AttemptLog, Json, Request

if TYPE_CHECKING:
    from webapp.patterns.fallback.chain import Chain

logger = logging.getLogger("patchbay.backends")
AT_ONCE: Final = 4
"""Copies that run at the same time in one process, for all mirrors together."""
MAX_SAMPLES: Final = 5000
"""Samples kept for each rollout."""
PATHS: Final = frozenset({"chat/completions", "completions"})
OWN_FIELDS: Final = frozenset({"model", "stream", "stream_options"})
"""Fields of a sent body that the step sets, so that a copy must not carry them on."""


def sampler(share: float, number: Callable[[], float] = random.random) -> Callable[[AttemptLog], None]:
    """Return a function that marks a share of the requests for a copy, and asks for the text of their answer."""

    def sample(trail: AttemptLog) -> None:
        trail.mirrored = number() < share
        if trail.mirrored:
            trail.answer = []

    return sample


class Mirrors:
    """The running copies of one event loop.

    Args:
        chain: returns the candidate of a rollout as a chain, or None if the rollout has ended or the candidate has no room.
        record: stores the attempts of a copy.
    """

    def __init__(self, chain: Callable[[str], Awaitable[tuple[int, Chain] | None]], record: Callable[[AttemptLog, str], None]) -> None:
        self._chain = chain
        self._record = record
        self._running: set[asyncio.Task[None]] = set()
        self._dropped: Counter[str] = Counter()

    def offer(self, trail: AttemptLog, route: str) -> None:
        """Copy an answered request whose text was kept (`sampler`), unless too many copies are running."""
        served = trail.served_by
        if (
            not trail.mirrored
            or trail.answer is None
            or served is None
            or served.outcome != "ok"
            or served.path not in PATHS
            or not served.request
        ):
            return
        if len(self._running) >= AT_ONCE:
            self._dropped[route] += 1
            return
        text = "".join(trail.answer)
        task = asyncio.get_running_loop().create_task(self._copy(route, served, served.request, text))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def aclose(self) -> None:
        """Cancel the running copies."""
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _copy(self, route: str, stable: Attempt, body: Json, text: str) -> None:
        found = await self._chain(route)
        if found is None:
            self._dropped[route] += 1
            return
        rollout, chain = found
        trail, answer = AttemptLog(), Accumulator()
        request = Request({name: value for name, value in body.items() if name not in OWN_FIELDS}, path=stable.path)
        try:
            async for packet in chain.stream(request, trail=trail):
                answer.add_packet(packet)
        except PatternError as error:
            logger.debug("A mirrored request failed: %s", error)  # its attempt and its sample say the same
        self._record(trail, route)
        sample = await _sample(rollout, stable, trail, text, answer.text)
        dropped, self._dropped[route] = self._dropped[route], 0
        try:
            await in_database(_store, sample, dropped)
        except Error as error:
            logger.warning("The sample of a mirrored request is lost: %s", error)


async def _sample(rollout: int, stable: Attempt, trail: AttemptLog, text: str, candidate_text: str) -> MirrorSample:
    """Return the differences. The comparison of texts runs in a thread."""
    candidate = trail.attempts[-1] if trail.attempts else Attempt("", "", outcome="failed", error="AllFailed")
    failed = candidate.outcome != "ok"
    comparable = not failed and (text or candidate_text)  # two answers of tool calls alone have no text
    alike = await asyncio.to_thread(similarity, text, candidate_text) if comparable else None
    return MirrorSample(
        rollout_id=rollout,
        stable=sanitize.text(f"{stable.backend}/{stable.model}")[:265],
        stable_ms=stable.duration_ms,
        candidate_ms=candidate.duration_ms,
        stable_first_ms=stable.first_token_ms,
        candidate_first_ms=candidate.first_token_ms,
        stable_tokens=_tokens(stable),
        candidate_tokens=_tokens(candidate),
        similarity=alike,
        error=(candidate.error or candidate.outcome)[:40] if failed else "",
        why=sanitize.text(candidate.why)[:300] if failed else "",
    )


def _tokens(attempt: Attempt) -> int:
    return min(max(attempt.usage.completion_tokens, 0), 2**31 - 1)


def _store(sample: MirrorSample, dropped: int) -> None:
    """Store a sample, and delete the oldest ones beyond `MAX_SAMPLES`."""
    try:
        sample.save()
    except IntegrityError:  # the rollout was deleted meanwhile
        return
    if dropped:
        Rollout.objects.filter(pk=sample.rollout_id).update(dropped=F("dropped") + dropped)
    if sample.pk % 100 == 0:
        kept: Any = MirrorSample.objects.filter(rollout=sample.rollout_id).values_list("pk", flat=True)[MAX_SAMPLES : MAX_SAMPLES + 1]
        MirrorSample.objects.filter(rollout=sample.rollout_id, pk__lte=kept[0] if kept else 0).delete()
