"""Send a test question through the steps of a route, saved or not. Steps with a simulated failure fail before anything is sent."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from webapp.backends.config.failure_simulation import SimulatedAttempt, breakers_with, simulated_steps
from webapp.backends.config.snapshot import RouteRow
from webapp.backends.runtime import registry
from webapp.patterns.errors import PatternError
from webapp.patterns.fallback.balancing import LoadBalancer
from webapp.patterns.fallback.chain import Chain, Step
from webapp.patterns.types import Attempt, AttemptLog, Request

TRIAL_SECONDS: Final = 120.0
WAIT_SECONDS: Final = 5.0
"""The longest wait for a rate limit: a person looks at the page."""
MAX_TOKENS: Final = 400
MAX_CHARACTERS: Final = 8000


@dataclass(frozen=True, slots=True)
class Trial:
    """The outcome of a test question. `told` is the error that the caller would get; empty for a whole answer."""

    answer: str
    attempts: tuple[Attempt, ...]
    served_by: Attempt | None
    told: str

    @property
    def simulated(self) -> int:
        """The number of attempts at simulated servers."""
        return sum(isinstance(attempt, SimulatedAttempt) for attempt in self.attempts)


async def ask(plan: RouteRow, conditions: Sequence[str], question: str, *, user_id: int) -> Trial:
    """Ask a question through a plan that has steps. The real attempts count as usage of the user, with the source "test".

    The breakers are its own: a test neither suffers from the cool-downs of live traffic nor causes any.
    """
    snapshot = await registry.current().refresh()
    real = await registry.steps(plan)
    simulated = simulated_steps(plan, snapshot, conditions)
    steps = [fake if condition else step for step, fake, condition in zip(real, simulated, conditions, strict=True)]
    chain = Chain(
        plan.name,
        steps,
        breakers=breakers_with(()),
        mid_stream=plan.mid_stream,
        hedge_ms=plan.hedge_ms,
        budget_seconds=WAIT_SECONDS,
        balancer=LoadBalancer(plan.balance, sticky=plan.sticky),
        caller=str(user_id),
    )
    trail = AttemptLog()
    answer, told = await _answer(chain, _request(question, real), trail)
    _record(trail, plan.name, user_id)
    served = trail.served_by if answer or not told else None
    return Trial(answer, tuple(trail.attempts), served, told)


def _request(question: str, steps: Sequence[Step]) -> Request:
    """Return the question as a chat, or as a text to embed where every step is known to embed only."""
    if all(step.capabilities.get("embeddings") and step.capabilities.get("chat") is False for step in steps):
        return Request.embedding([question])
    request = Request.chat([{"role": "user", "content": question}], max_tokens=MAX_TOKENS)
    return replace(request, session=uuid.uuid4().hex)


async def _answer(chain: Chain, request: Request, trail: AttemptLog) -> tuple[str, str]:
    """Return the text so far, and the error that ended it; empty for none."""
    text = ""
    try:
        async with asyncio.timeout(TRIAL_SECONDS):
            if request.path == "embeddings":
                vectors = (await chain.send(request, trail=trail)).body["data"]
                return f"A vector of {len(vectors[0]['embedding'])} numbers.", ""
            async with aclosing(chain.stream(request, trail=trail)) as packets:
                async for packet in packets:
                    text = "" if packet.switch == "restart" else text
                    text += "".join(delta.text or delta.refusal for delta in packet.deltas)
                    if len(text) > MAX_CHARACTERS:
                        break
    except PatternError as error:
        return text, error.message
    except TimeoutError:
        return text, f"There was no whole answer within {TRIAL_SECONDS:.0f} seconds."
    return text, ""


def _record(trail: AttemptLog, route: str, user_id: int) -> None:
    """Record the attempts at real servers: simulated failures must not change the health of a backend."""
    real = AttemptLog()
    real.attempts = [attempt for attempt in trail.attempts if not isinstance(attempt, SimulatedAttempt)]
    if real.attempts:
        registry.record(real, request_id=uuid.uuid4(), source="test", user_id=user_id, route=route)
