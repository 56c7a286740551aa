"""Users, their work, and the invariants that must hold whatever happens."""

from __future__ import annotations

from tests.simulation.scenarios.base import Scenario
from tests.simulation.scenarios.chat import ChatScenario

SCENARIOS: tuple[type[Scenario], ...] = (ChatScenario,)
