"""Prepare the picture of a route: which step is asked, which one answers, and what happens to a request when steps fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from webapp.backends.config import failure_simulation
from webapp.backends.config.failure_simulation import Drill
from webapp.backends.config.snapshot import RouteRow, Snapshot
from webapp.backends.models import Health
from webapp.backends.runtime.cooldowns import Row

BAR_WIDTH = 240
"""Width of a whole bar, in the units of its SVG."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A step in the picture. `asked` and `answered` are percentages of the requests; the widths are those of the bars."""

    number: int
    backend: str
    model: str
    condition: str
    asked: float
    answered: float

    @property
    def asked_width(self) -> float:
        """Return the width of the part that is asked first."""
        return self.asked / 100 * BAR_WIDTH

    @property
    def answered_width(self) -> float:
        """Return the width of the part that is answered."""
        return self.answered / 100 * BAR_WIDTH


@dataclass(frozen=True, slots=True)
class Picture:
    """The load of a route by group, the percentage of requests that no step answers, and the trail of one request."""

    groups: tuple[tuple[Bar, ...], ...]
    unanswered: float
    drill: Drill


async def draw(route: RouteRow, snapshot: Snapshot, conditions: Sequence[str], cooling: Sequence[Row], usual: dict[int, float]) -> Picture:
    """Simulate the requests of a route that has steps.

    Args:
        route: the route, saved or not.
        snapshot: the backends of its steps.
        conditions: the condition of each step.
        cooling: cool-downs that the simulation begins with.
        usual: usual latencies in seconds by backend (`latencies`).
    """
    known = {(snapshot.backends[step.backend].name, step.model): usual[step.backend] for step in route.steps if step.backend in usual}
    load = await failure_simulation.simulate_load(route, snapshot, conditions, usual=known, cooling=cooling)
    bars = [
        Bar(
            number=number,
            backend=snapshot.backends[step.backend].name,
            model=step.model,
            condition=failure_simulation.CONDITIONS[condition][0] if condition else "",
            asked=share.asked * 100,
            answered=share.answered * 100,
        )
        for number, (step, share, condition) in enumerate(zip(route.steps, load.shares, conditions, strict=True), 1)
    ]
    grouped = groupby(zip(route.steps, bars, strict=True), key=lambda pair: pair[0].group)
    groups = tuple(tuple(bar for _step, bar in pairs) for _group, pairs in grouped)
    return Picture(groups, load.unanswered * 100, await failure_simulation.drill(route, snapshot, conditions, cooling))


def latencies() -> dict[int, float]:
    """Return the last measured latency of each backend in seconds, by its id."""
    rows = Health.objects.filter(latency_ms__isnull=False).values_list("backend_id", "latency_ms")
    return {pk: milliseconds / 1000 for pk, milliseconds in rows if milliseconds is not None}
