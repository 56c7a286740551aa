"""Share the load of a chain among the steps of a group.

A group is a run of neighboring steps that may stand in for each other; the next group is the fallback of the one before. Within a group the
balance decides which step is asked first:

- `ordered`: the first step, as long as it has room;
- `least-busy`: the step with the fewest running calls for its weight;
- `weighted`: steps in proportion to their weights, spread evenly (smooth weighted round robin);
- `fastest`: the step with the shortest recent time to first token, with one request in ten for another step, so that changes are noticed.

A sticky chain keeps a session on one step for the prompt cache of its server: the step comes from a hash of the session, so that all
processes choose the same one. When that step fails, the session moves once and stays where it was answered; `take_moves` and `adopt` carry
this to other processes.
"""

from __future__ import annotations

import hashlib
import math
import random as random_module
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Final, Literal, Protocol, TypeVar

from webapp.patterns.backend import Server
from webapp.patterns.types import Request

Balance = Literal["ordered", "least-busy", "weighted", "fastest"]

CANARY: Final = -1
"""The group of a step that is a canary."""
EXPLORED: Final = 0.1
"""The share of requests that `fastest` sends to another step than the fastest."""
_SMOOTHING: Final = 0.2
"""The weight of the newest time to first token in the moving average."""
MAX_PINS: Final = 20_000
"""Moved sessions of a chain that are remembered."""


class Step(Protocol):
    """Name what the balancer needs of a step (`fallback.execution.Step`)."""

    @property
    def backend(self) -> Server:
        """Return the backend."""

    @property
    def keys(self) -> tuple[str, str]:
        """Return the breaker keys of the backend and of the model."""

    @property
    def group(self) -> int:
        """Return the number of the group that shares load."""

    @property
    def weight(self) -> int:
        """Return the share among its group."""


S = TypeVar("S", bound=Step)


def session_of(request: Request) -> str:
    """Return what ties a request to earlier ones: its session, `prompt_cache_key`, `conversation` or `user`; empty for nothing."""
    if request.session:
        return request.session
    for name in ("prompt_cache_key", "conversation", "user"):
        value = request.body.get(name)
        if isinstance(value, str) and value:
            return f"{name}:{value}"
    return ""


class LoadTracker:
    """Count the running calls of each backend and remember how fast each step answers. One serves all chains of a process."""

    def __init__(self) -> None:
        self._running: defaultdict[str, int] = defaultdict(int)
        self._first_token: dict[str, float] = {}

    def started(self, step: Step) -> None:
        """Count a call that begins."""
        self._running[step.backend.name] += 1

    def ended(self, step: Step) -> None:
        """Count a call that ends, however it ends."""
        self._running[step.backend.name] -= 1

    def answered(self, step: Step, seconds: float) -> None:
        """Note the time to the first token of a call, or to its whole answer."""
        known = self._first_token.get(step.keys[1])
        self._first_token[step.keys[1]] = seconds if known is None else known + _SMOOTHING * (seconds - known)

    def running(self, step: Step) -> int:
        """Return the calls that the step's backend works on for this process."""
        return self._running[step.backend.name]

    def first_token(self, step: Step) -> float | None:
        """Return the moving average of the step's time to first token in seconds, or None before its first answer."""
        return self._first_token.get(step.keys[1])


class LoadBalancer:
    """Order the steps of one chain for each request.

    A canary is a step outside the groups that gets a share of the requests first. When it fails, the groups follow as usual. All requests
    of a session go the same way.

    Args:
        balance: how a group shares its load.
        sticky: keep a session on one step.
        tracker: the load of all chains of the process.
        random: returns a number from 0 up to 1, for `fastest`, for ties, and for the canary.

    Attributes:
        canary_share: the part of the requests, from 0 to 1, that the step with `group` CANARY gets first.
    """

    def __init__(
        self,
        balance: Balance = "ordered",
        *,
        sticky: bool = False,
        tracker: LoadTracker | None = None,
        random: Callable[[], float] = random_module.random,
    ) -> None:
        self.balance, self.sticky = balance, sticky
        self.tracker = tracker or LoadTracker()
        self.canary_share = 0.0
        self._random = random
        self._credit: defaultdict[str, float] = defaultdict(float)
        self._pins: OrderedDict[str, str] = OrderedDict()
        self._moves: dict[str, str] = {}

    def order(self, steps: Sequence[S], session: str) -> list[S]:
        """Return the steps in the order to try them, group by group."""
        stable = [step for step in steps if step.group != CANARY]
        if len(stable) < len(steps) and stable:
            chosen = [step for step in steps if step.group == CANARY] if self._takes_canary(session) else []
            return chosen + self.order(stable, session)
        ordered: list[S] = []
        for _, group in groupby(steps, key=lambda step: step.group):
            members = list(group)
            if len(members) == 1:
                ordered += members
            elif self.sticky and session:
                ordered += self._by_session(members, session)
            else:
                ordered += self._by_load(members)
        return ordered

    def pin(self, session: str, step: Step) -> None:
        """Keep a session on the step that answered it after its own step failed."""
        self._moves[_digest(session)] = step.keys[1]
        self._pin(_digest(session), step.keys[1])

    def take_moves(self) -> dict[str, str]:
        """Return the sessions that were pinned since the last call, as hashes, with the model key of their step."""
        taken, self._moves = self._moves, {}
        return taken

    def adopt(self, session: str, step: str) -> None:
        """Pin a session that moved in another process. Moves of this process that were not taken yet win.

        Args:
            session: its hash, as `take_moves` returns it.
            step: the model key of the step.
        """
        if session not in self._moves:
            self._pin(session, step)

    def _pin(self, session: str, step: str) -> None:
        self._pins[session] = step
        self._pins.move_to_end(session)
        if len(self._pins) > MAX_PINS:
            self._pins.popitem(last=False)

    def _takes_canary(self, session: str) -> bool:
        part = _part_of(f"canary\0{session}") if session else self._random()
        return part < self.canary_share

    def _by_session(self, steps: list[S], session: str) -> list[S]:
        ranked = sorted(steps, key=lambda step: _rendezvous(session, step), reverse=True)
        pinned = self._pins.get(_digest(session)) if self._pins else None
        return sorted(ranked, key=lambda step: step.keys[1] != pinned)  # stable: the rest stays ranked

    def _by_load(self, steps: list[S]) -> list[S]:
        if self.balance == "least-busy":
            return sorted(steps, key=lambda step: (self.tracker.running(step) / step.weight, self._random()))
        if self.balance == "weighted":
            return self._weighted(steps)
        if self.balance == "fastest":
            return self._fastest(steps)
        return steps

    def _weighted(self, steps: list[S]) -> list[S]:
        """Give each step credit by its weight, take the one with the most, and charge it for all."""
        for step in steps:
            self._credit[step.keys[1]] += step.weight
        ranked = sorted(steps, key=lambda step: -self._credit[step.keys[1]])
        self._credit[ranked[0].keys[1]] -= sum(step.weight for step in steps)
        return ranked

    def _fastest(self, steps: list[S]) -> list[S]:
        """Rank by expected wait: the usual time to first token, longer where calls are running. Steps without a time come first."""

        def wait(step: S) -> float:
            usual = self.tracker.first_token(step)
            return -1.0 / (1 + self.tracker.running(step)) if usual is None else usual * (1 + self.tracker.running(step) / 8)

        ranked = sorted(steps, key=wait)
        if self._random() < EXPLORED:
            ranked.insert(0, ranked.pop(1 + int(self._random() * (len(ranked) - 1))))
        return ranked


def _digest(session: str) -> str:
    """Return a hash of a session, which may name a person."""
    return hashlib.blake2b(session.encode("utf-8", "replace"), digest_size=16).hexdigest()


def _part_of(text: str) -> float:
    """Return a number between 0 and 1 that is the same for the same text in every process."""
    digest = hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / (2**64 + 1)


def _rendezvous(session: str, step: Step) -> float:
    """Return the step's rank for a session (highest random weight): a step that goes or comes moves only its own sessions."""
    return -step.weight / math.log(_part_of(f"{session}\0{step.keys[1]}"))
