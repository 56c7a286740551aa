"""`manage.py restore FILE`: replace the present state by that of a backup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.server import backups


class Command(BaseCommand):
    """Restore a backup."""

    help = "Restore a backup. Stop the server first; the archive is verified before anything is replaced."
    requires_migrations_checks = False

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path)
        parser.add_argument("--force", action="store_true", help="replace the existing database")

    def handle(self, *_args: Any, file: Path, force: bool, **_options: Any) -> None:
        """Run the command."""
        try:
            count = backups.restore(file.resolve(), force=force)
        except backups.ArchiveProblem as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{count} files restored. Start the server: make run")
