"""The database server of a run: empty at its start, and with the faults of its world."""

from __future__ import annotations

import re
import sqlite3
from typing import TYPE_CHECKING

from django.db import connection, connections

from tests.simulation.machine.clock import clock
from tests.simulation.machine.sqlite import base

if TYPE_CHECKING:
    from tests.simulation.machine.world import World

_SAVEPOINT = re.compile(r'"s\d+_x\d+"')
"""The name of a savepoint: it holds the number of the real thread."""
_template: sqlite3.Connection | None = None


def prepare() -> None:
    """Create the tables once; each run begins with a copy."""
    global _template
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    _template = sqlite3.connect(":memory:")
    connection.connection.backup(_template)


class SimulatedDatabase:
    """Decides what happens to statements.

    Attributes:
        away_until: when the database can be reached again.
        lost_answers: whether a commit may succeed and its answer get lost, as with PostgreSQL over a network.
    """

    def __init__(self, world: World, *, pauses: float = 0.05, lost_answers: float = 0.0) -> None:
        assert _template is not None, "prepare() comes first"
        self._world = world
        self._pauses, self._lost_answers = pauses, lost_answers
        self.away_until = 0.0
        self.why = "the database is away"
        wrapper = connections["default"]
        wrapper.fill_from(_template)  # type: ignore[attr-defined]  # the simulated backend's
        setattr(base.faults, "statement", self._statement)  # noqa: B010 - mypy allows no assignment to a method
        setattr(base.faults, "committed", self._committed)  # noqa: B010

    def fail_for(self, seconds: float, why: str) -> None:
        """Let every statement fail for some time."""
        self.away_until, self.why = clock.elapsed + seconds, why
        self._world.outages.append((clock.elapsed, self.away_until))
        self._world.note(f"database: {why} for {seconds:.3f} s")

    def _statement(self, sql: str, *, in_transaction: bool) -> bool:
        process = self._world.now_running
        if process is None or process is self._world.users:
            return False
        self._world.note(_SAVEPOINT.sub("", sql))
        if clock.elapsed < self.away_until and not sql.startswith("PRAGMA"):
            raise sqlite3.OperationalError(self.why)
        return not in_transaction and self._world.random.random() < self._pauses

    def _committed(self) -> None:
        process = self._world.now_running
        if process is not None and process is not self._world.users and self._world.chance(self._lost_answers):
            self._world.note("the answer to a commit is lost")
            raise sqlite3.OperationalError("the connection was lost")
