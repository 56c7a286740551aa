"""Report the health of backends to Prometheus, from the memory of this process."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from webapp.backends.runtime import registry
from webapp.core import metrics

UP: Final = "patchbay_backend_up"


def connect() -> None:
    """Add the gauges to `/metrics`."""
    metrics.register(_health)


def _health() -> Iterable[tuple[str, str, dict[str, str], float]]:
    """Yield 1 for each backend that is up, and 0 for each that is down. One that was not tried yet has no value."""
    found = {name: state for one in registry.registries() for name, state in one.states().items() if state != "unknown"}
    for name, state in sorted(found.items()):
        yield UP, "Whether the backend answered last time.", {"backend": name}, float(state == "up")
