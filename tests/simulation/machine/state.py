"""The module state of the product that each real process has for itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import cycle
from typing import Any

from batches.execution import pause_reasons
from batches.execution import runner as batch_runner
from chat.streaming import hub as chat_hub
from webapp.core import background, leases, threads
from webapp.gateway.responses import jobs

_NAMES: tuple[tuple[Any, str], ...] = (
    (leases, "_grace_until"),
    (background, "_work"),
    (threads, "_executors"),
    (chat_hub, "_hub"),
    (batch_runner, "_here"),
    (pause_reasons, "_here"),
    (jobs, "_here"),
    (jobs, "_owner"),
)


def _fresh() -> list[Any]:
    executors = cycle([ThreadPoolExecutor(1) for _ in range(threads.SIZE)])  # the simulated loop starts no thread of them
    return [0.0, set(), executors, None, None, {}, None, (0, "")]


class ProcessState:
    """Keep the values of one process while another one runs."""

    def __init__(self) -> None:
        self._values = _fresh()
        self._before: list[list[Any]] = []

    def enter(self) -> None:
        """Put this process's values into the modules."""
        self._before.append([getattr(module, name) for module, name in _NAMES])
        self._put(self._values)

    def leave(self) -> None:
        """Take them out again."""
        self._values = [getattr(module, name) for module, name in _NAMES]
        self._put(self._before.pop())

    def _put(self, values: list[Any]) -> None:
        for (module, name), value in zip(_NAMES, values, strict=True):
            setattr(module, name, value)
