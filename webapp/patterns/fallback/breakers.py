"""Circuit breakers and cool-downs, by key.

A key is a backend (`"ollama"`) or one of its models (`"ollama/llama3"`). State shared between processes implements the same `Breakers`
protocol: its calls return at once, so a shared implementation keeps a local copy and exchanges changes in the background.

An open breaker blocks the narrowest class of requests that explains the failures (`Origin`). Five failures of one request block that
request. Failures of one caller's requests with images block that caller's requests with images. Only failures of different callers, with
different requests, block everyone: one caller with a request that the server cannot take must not take the server from the others.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, Literal, Protocol

CONSECUTIVE: Final = 5
"""Failures in a row that open a breaker."""
WINDOW: Final = 60.0
"""Seconds over which the share of failures is taken."""
LEAST: Final = 10
"""Calls in the window below which the share says nothing."""
INDEPENDENT: Final = 2
"""Failures outside a class of requests that refute the class as their explanation."""
FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 600.0
PROBE_PATIENCE: Final = 120.0
"""Seconds after which a probe that never reported is given up."""

State = Literal["closed", "open", "half_open", "cooling"]


@dataclass(frozen=True, slots=True)
class Origin:
    """The class of requests that a call belongs to. Empty fields stand for every request.

    Attributes:
        caller: the user who asks.
        shape: the features that the request uses, such as tools or images.
        digest: the request itself.
    """

    caller: str = ""
    shape: str = ""
    digest: str = ""

    def covers(self, other: Origin) -> bool:
        """Return whether a request of `other` belongs to this class."""
        return all(not getattr(self, name) or getattr(self, name) == getattr(other, name) for name in _ORIGIN_FIELDS)


_ORIGIN_FIELDS: Final = tuple(entry.name for entry in fields(Origin))
ANYONE: Final = Origin()


@dataclass(frozen=True, slots=True)
class Health:
    """The state of a key.

    Attributes:
        seconds: until the next call may be made.
        why: for people.
        only: the class of requests that may not be made; every request where it is empty.
        limited: the pause is the wait that a rate limit asks for.
    """

    state: State = "closed"
    seconds: float = 0.0
    why: str = ""
    only: Origin = ANYONE
    limited: bool = False


class Breakers(Protocol):
    """The state that a chain consults and reports to: one of `succeeded`, `failed`, `released` follows each `acquire` that returns None."""

    def acquire(self, key: str, origin: Origin = ANYONE) -> Health | None:
        """Return None where the call may be made; else the reason and the wait."""
        ...

    def succeeded(self, key: str) -> None:
        """Record a success."""

    def failed(self, key: str, why: str = "", origin: Origin = ANYONE) -> None:
        """Note a failure that counts."""
        ...

    def released(self, key: str) -> None:
        """Note that a call ended and says nothing about health: it was cancelled, or the request was at fault."""
        ...

    def cool(self, key: str, seconds: float, why: str = "", *, only: Origin = ANYONE, limited: bool = False) -> None:
        """Make no calls for so many seconds; running calls go on."""
        ...

    def close_account(self, backend: str, model: str, seconds: float, why: str = "") -> None:
        """Note that a server refused the account for a model: pause the model, and the backend once a second model was refused."""
        ...

    def reset(self, key: str) -> None:
        """Forget a key and, for a backend, its models."""
        ...

    def health(self, key: str) -> Health:
        """Return the state of the breaker."""

    def snapshot(self) -> Mapping[str, Health]:
        """Return the health of every key that is not closed."""
        ...


@dataclass(slots=True)
class _Circuit:
    in_a_row: int = 0
    results: deque[tuple[float, bool, Origin]] = field(default_factory=lambda: deque(maxlen=256))
    """(time, success, origin) of the latest calls."""
    open_until: float = 0.0
    pause: float = 0.0
    """The last pause in seconds; zero while closed."""
    only: Origin = ANYONE
    probe_since: float | None = None
    cool_until: float = 0.0
    cool_only: Origin = ANYONE
    limited: bool = False
    account: bool = False
    """The pause is for the account."""
    why: str = ""
    cool_why: str = ""


class MemoryBreakers:
    """Breakers of one process. All times by `clock`, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}

    def acquire(self, key: str, origin: Origin = ANYONE) -> Health | None:
        """Return None when a request may go, else the state that forbids it."""
        circuit = self._circuits.get(key)
        if circuit is None:
            return None
        if not circuit.pause and not circuit.cool_until:
            return None  # as nearly always
        health = self._health(circuit)
        if health.state == "closed" or not health.only.covers(origin):
            return None
        if health.state == "half_open" and health.seconds == 0:
            circuit.probe_since = self._clock()
            return None
        return health

    def succeeded(self, key: str) -> None:
        """Record a success."""
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = _Circuit()
        if circuit.pause:
            circuit.results.clear()
        circuit.in_a_row, circuit.open_until, circuit.pause, circuit.probe_since, circuit.only = 0, 0.0, 0.0, None, ANYONE
        circuit.results.append((self._clock(), True, ANYONE))

    def failed(self, key: str, why: str = "", origin: Origin = ANYONE) -> None:
        """Record a failure, and open the breaker when enough have come together."""
        now = self._clock()
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.in_a_row += 1
        circuit.results.append((now, False, origin))
        circuit.why = why
        if circuit.probe_since is not None or (not circuit.pause and self._trips(circuit, now)):
            circuit.pause = min(max(FIRST_PAUSE, circuit.pause * 2), LONGEST_PAUSE)
            circuit.open_until = now + circuit.pause
        if circuit.pause:
            circuit.only = self._explanation(circuit, now)
        circuit.probe_since = None

    def released(self, key: str) -> None:
        """Give back a probe that ended without a result."""
        if circuit := self._circuits.get(key):
            circuit.probe_since = None

    def cool(self, key: str, seconds: float, why: str = "", *, only: Origin = ANYONE, limited: bool = False) -> None:
        """Pause the key for this many seconds."""
        circuit = self._circuits.setdefault(key, _Circuit())
        until = self._clock() + seconds
        if until > circuit.cool_until:
            circuit.cool_until, circuit.cool_why, circuit.cool_only, circuit.limited = until, why, only, limited
            circuit.account = False

    def close_account(self, backend: str, model: str, seconds: float, why: str = "") -> None:
        """Pause a model of an account that was refused, and the whole backend once several models were."""
        self.cool(model, seconds, why)
        self._circuits[model].account = True
        now = self._clock()
        refused = [
            key for key, circuit in self._circuits.items() if circuit.account and circuit.cool_until > now and key.startswith(f"{backend}/")
        ]
        if len(refused) > 1:
            self.cool(backend, seconds, why)

    def reset(self, key: str) -> None:
        """Forget all that is known about a key and the keys below it."""
        for known in list(self._circuits):
            if known == key or known.startswith(f"{key}/"):
                del self._circuits[known]

    def health(self, key: str) -> Health:
        """Return the state of the breaker."""
        circuit = self._circuits.get(key)
        return self._health(circuit) if circuit else Health()

    def snapshot(self) -> dict[str, Health]:
        """Return the state of each breaker that is not closed."""
        found = {key: self._health(circuit) for key, circuit in self._circuits.items()}
        return {key: health for key, health in found.items() if health.state != "closed"}

    def _trips(self, circuit: _Circuit, now: float) -> bool:
        if circuit.in_a_row >= CONSECUTIVE:
            return True
        recent = [success for at, success, _ in circuit.results if at > now - WINDOW]
        return len(recent) >= LEAST and recent.count(False) * 2 >= len(recent)

    def _explanation(self, circuit: _Circuit, now: float) -> Origin:
        """Return the narrowest class of requests that all recent failures but fewer than `INDEPENDENT` belong to."""
        row = len(circuit.results) - circuit.in_a_row
        failures = [
            origin for place, (at, success, origin) in enumerate(circuit.results) if not success and (place >= row or at > now - WINDOW)
        ]
        return Origin(*(self._common([getattr(origin, name) for origin in failures]) for name in _ORIGIN_FIELDS))

    def _common(self, values: list[str]) -> str:
        value, count = Counter(values).most_common(1)[0]
        return value if len(values) - count < INDEPENDENT else ""

    def _health(self, circuit: _Circuit) -> Health:
        now = self._clock()
        if circuit.cool_until > now:
            return Health("cooling", circuit.cool_until - now, circuit.cool_why, circuit.cool_only, circuit.limited)
        if not circuit.pause:
            return Health()
        if circuit.open_until > now:
            return Health("open", circuit.open_until - now, circuit.why, circuit.only)
        if circuit.probe_since is not None and now - circuit.probe_since < PROBE_PATIENCE:
            return Health("half_open", 1.0, "being tried again", circuit.only)
        return Health("half_open", 0.0, circuit.why, circuit.only)
