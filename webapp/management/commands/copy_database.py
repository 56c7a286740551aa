"""`manage.py copy_database --to postgres://…`: move from SQLite to PostgreSQL (or back), verified by counts and hashes."""

from __future__ import annotations

from typing import Any

import dj_database_url
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError, CommandParser, SystemCheckError
from django.db import Error, connections

from webapp.patterns.redaction import redact_log
from webapp.server import database_copy, startup

TARGET = "copy_target"


class Command(BaseCommand):
    """Copy the database into another one."""

    help = "Copy everything into another, empty database, and verify it. Stop the servers first; then set DATABASE_URL to the new one."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--to", required=True, metavar="URL", help="postgres://user:password@host:5432/name or sqlite:////path")

    def handle(self, *_args: Any, to: str, **_options: Any) -> None:
        """Run the command."""
        if not to.startswith(("postgres://", "postgresql://", "sqlite:///")):
            raise CommandError("Nothing was copied: --to accepts only postgres:// and sqlite:/// addresses.")
        try:
            with startup.serving(alone=True):
                self._copy(to)
        except BlockingIOError as error:
            raise CommandError("A server is running here: stop it first, with its workers.") from error
        except (database_copy.NotEmpty, SystemCheckError, Error) as error:
            raise CommandError(f"Nothing was copied: {redact_log(str(error).strip())}") from error

    def _copy(self, to: str) -> None:
        connections.databases[TARGET] = {**connections.databases["default"], "TEST": {}, "OPTIONS": {}, **dj_database_url.parse(to)}
        wrong = 0
        try:
            call_command("migrate", database=TARGET, interactive=False, verbosity=0, skip_checks=False)
            self.stdout.write("Copying, then comparing every row …")
            self.stdout.flush()
            for table in database_copy.copy_rows("default", TARGET):
                wrong += not table.same
                self.stdout.write(f"{'same ' if table.same else 'WRONG'}  {table.rows:>8}  {table.label}")
        finally:
            connections[TARGET].close()
            connections.databases.pop(TARGET)
        if wrong:
            raise CommandError(f"{wrong} tables differ: do not use the copy")
        self.stdout.write(
            "Everything is copied. Set DATABASE_URL to the new address and start the server; search rebuilds its index there."
        )
