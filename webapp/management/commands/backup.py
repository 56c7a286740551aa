"""`manage.py backup FILE`: save all state into one archive while the server runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.server import backups


class Command(BaseCommand):
    """Write a backup."""

    help = "Write all state (database, files, secrets) to one .tar.gz. Keep it safe: it holds the keys."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        parser.add_argument("file", type=Path)

    def handle(self, *_args: Any, file: Path, **_options: Any) -> None:
        """Run the command."""
        try:
            count = backups.backup(file.resolve())
        except backups.ArchiveProblem as error:
            raise CommandError(str(error)) from error
        except OSError as error:
            raise CommandError(f"{file} could not be written: {error.strerror or error}") from error
        self.stdout.write(f"{count} files in {file} ({file.stat().st_size / 1e6:.1f} MB)")
