"""Who may be called now: circuit breakers and cool-downs, by key.

A key is a backend (`"ollama"`) or one of its models (`"ollama/llama3"`). State shared between processes implements the same `Breakers`
protocol: calls are plain and quick, so a shared implementation keeps a local copy and spreads changes behind it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

CONSECUTIVE: Final = 5
"""Failures in a row that open a breaker."""
WINDOW: Final = 60.0
"""Seconds over which the share of failures is taken."""
LEAST: Final = 10
"""Calls in the window below which the share says nothing."""
FIRST_PAUSE: Final = 30.0
LONGEST_PAUSE: Final = 600.0
PROBE_PATIENCE: Final = 120.0
"""Seconds after which a probe that never reported is given up."""

State = Literal["closed", "open", "half_open", "cooling"]


@dataclass(frozen=True, slots=True)
class Health:
    """How a key stands. `seconds` until it may be called again; `why` for people."""

    state: State = "closed"
    seconds: float = 0.0
    why: str = ""


class Breakers(Protocol):
    """What the chain asks and tells. Every `acquire` that returns None is followed by one of `succeeded`, `failed`, `released`."""

    def acquire(self, key: str) -> Health | None:
        """None: the call may be made. Else why not, and for how long."""
        ...

    def succeeded(self, key: str) -> None: ...

    def failed(self, key: str, why: str = "") -> None:
        """A failure that counts."""
        ...

    def released(self, key: str) -> None:
        """The call ended and says nothing about health: it was cancelled, or the request was at fault."""
        ...

    def cool(self, key: str, seconds: float, why: str = "") -> None:
        """No calls for so many seconds; ends nothing that runs."""
        ...

    def reset(self, key: str) -> None:
        """Forget a key and, for a backend, its models."""
        ...

    def health(self, key: str) -> Health: ...

    def snapshot(self) -> Mapping[str, Health]:
        """All keys that are not simply well."""
        ...


@dataclass(slots=True)
class _Circuit:
    in_a_row: int = 0
    results: deque[tuple[float, bool]] = field(default_factory=lambda: deque(maxlen=256))
    """(time, success) of the latest calls."""
    open_until: float = 0.0
    pause: float = 0.0
    """The last pause in seconds; zero while closed."""
    probe_since: float | None = None
    cool_until: float = 0.0
    why: str = ""
    cool_why: str = ""


class MemoryBreakers:
    """Breakers of one process. All times by `clock`, in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._circuits: dict[str, _Circuit] = {}

    def acquire(self, key: str) -> Health | None:
        circuit = self._circuits.get(key)
        if circuit is None:
            return None
        if not circuit.pause and not circuit.cool_until:
            return None  # as nearly always
        health = self._health(circuit)
        if health.state == "half_open" and health.seconds == 0:
            circuit.probe_since = self._clock()
            return None
        return None if health.state == "closed" else health

    def succeeded(self, key: str) -> None:
        circuit = self._circuits.get(key)
        if circuit is None:
            circuit = self._circuits[key] = _Circuit()
        if circuit.pause:
            circuit.results.clear()
        circuit.in_a_row, circuit.open_until, circuit.pause, circuit.probe_since = 0, 0.0, 0.0, None
        circuit.results.append((self._clock(), True))

    def failed(self, key: str, why: str = "") -> None:
        now = self._clock()
        circuit = self._circuits.setdefault(key, _Circuit())
        circuit.in_a_row += 1
        circuit.results.append((now, False))
        circuit.why = why
        if circuit.probe_since is not None or (not circuit.pause and self._trips(circuit, now)):
            circuit.pause = min(max(FIRST_PAUSE, circuit.pause * 2), LONGEST_PAUSE)
            circuit.open_until = now + circuit.pause
        circuit.probe_since = None

    def released(self, key: str) -> None:
        if circuit := self._circuits.get(key):
            circuit.probe_since = None

    def cool(self, key: str, seconds: float, why: str = "") -> None:
        circuit = self._circuits.setdefault(key, _Circuit())
        until = self._clock() + seconds
        if until > circuit.cool_until:
            circuit.cool_until, circuit.cool_why = until, why

    def reset(self, key: str) -> None:
        for known in list(self._circuits):
            if known == key or known.startswith(f"{key}/"):
                del self._circuits[known]

    def health(self, key: str) -> Health:
        circuit = self._circuits.get(key)
        return self._health(circuit) if circuit else Health()

    def snapshot(self) -> dict[str, Health]:
        found = {key: self._health(circuit) for key, circuit in self._circuits.items()}
        return {key: health for key, health in found.items() if health.state != "closed"}

    def _trips(self, circuit: _Circuit, now: float) -> bool:
        if circuit.in_a_row >= CONSECUTIVE:
            return True
        recent = [success for at, success in circuit.results if at > now - WINDOW]
        return len(recent) >= LEAST and recent.count(False) * 2 >= len(recent)

    def _health(self, circuit: _Circuit) -> Health:
        now = self._clock()
        if circuit.cool_until > now:
            return Health("cooling", circuit.cool_until - now, circuit.cool_why)
        if not circuit.pause:
            return Health()
        if circuit.open_until > now:
            return Health("open", circuit.open_until - now, circuit.why)
        if circuit.probe_since is not None and now - circuit.probe_since < PROBE_PATIENCE:
            return Health("half_open", 1.0, "being tried again")
        return Health("half_open", 0.0, circuit.why)
