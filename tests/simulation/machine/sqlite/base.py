"""SQLite in memory, shared by all simulated processes, with faults. `faults` decides them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from django.db.backends.sqlite3 import base

from tests.simulation.machine.loop import pause_thread

Database = sqlite3


class DatabaseFaults:
    """Decide the fate of each statement. A run replaces the methods of the instance below by those of its world."""

    def statement(self, sql: str, *, in_transaction: bool) -> bool:
        """Raise the database's error, or return whether other processes act before the statement."""
        return False

    def committed(self) -> None:
        """Raise an error after a commit: the answer was lost on its way."""


faults = DatabaseFaults()
"""The faults of the run."""


class Cursor(base.SQLiteCursorWrapper):
    """A cursor whose statements can fail, and before which others can act."""

    wrapper: DatabaseWrapper

    def execute(self, query: str, params: Any = None) -> Any:
        self._may_run(query)
        return super().execute(query, params)

    def executemany(self, query: str, param_list: Iterable[Any]) -> Any:
        self._may_run(query)
        return super().executemany(query, param_list)

    def _may_run(self, query: str) -> None:
        if faults.statement(query, in_transaction=self.wrapper.in_atomic_block):
            pause_thread()


class DatabaseWrapper(base.DatabaseWrapper):
    """The connection of all simulated processes."""

    def create_cursor(self, name: Any = None) -> Any:
        cursor = self.connection.cursor(factory=Cursor)
        cursor.wrapper = self
        return cursor

    def _commit(self) -> None:
        super()._commit()  # type: ignore[misc]  # the stubs lack it
        with self.wrap_database_errors:
            faults.committed()

    def fill_from(self, source: sqlite3.Connection) -> None:
        """Replace the contents by those of another database."""
        self.ensure_connection()
        source.backup(self.connection)
