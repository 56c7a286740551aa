"""`manage.py copy_files --to store` or `--to folder`: copy all files between PATCHBAY_HOME/files and the S3-compatible store."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from webapp.core import file_store


class Command(BaseCommand):
    """Copy the files that the target lacks. An interrupted run is continued by running it again."""

    help = "Copies the files that the target lacks, or has with another size. Run it again after an interruption."

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the options of docs/contract.md."""
        parser.add_argument("--to", required=True, choices=("store", "folder"))

    def handle(self, **options: Any) -> None:
        """Run the command."""
        if not file_store.is_on():
            raise CommandError("No store is configured: set PATCHBAY_S3_BUCKET (docs/configuration.md).")
        try:
            with file_store.reachable():
                copied, present = self._to_store() if options["to"] == "store" else self._to_folder()
        except file_store.StoreUnavailableError as error:
            raise CommandError(f"{error}. Run the command again to continue.") from error
        self.stdout.write(f"{copied:,} files copied, {present:,} were there")

    def _to_store(self) -> tuple[int, int]:
        there = set(file_store.stored_names())
        copied = present = 0
        for name in file_store.local_names():
            path = file_store.path_of(name)
            if name in there and file_store.store().size(name) == path.stat().st_size:
                present += 1
            else:
                file_store.publish(path)
                copied += 1
        return copied, present

    def _to_folder(self) -> tuple[int, int]:
        copied = present = 0
        for name in file_store.stored_names():
            path = file_store.path_of(name)
            if path.exists() and path.stat().st_size == file_store.store().size(name):
                present += 1
            else:
                file_store.fetch(path)
                copied += 1
        return copied, present
