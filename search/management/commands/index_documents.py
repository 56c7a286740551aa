"""`manage.py index_documents PATH… [--collection NAME] [--user NAME] [--watch]`."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from search import ingest_cli, services
from search.ingest_cli import Outcome
from search.models import Collection
from search.sources import watching
from search.sources.watching import Report
from webapp.accounts.models import User

BAR = 30


class Command(BaseCommand):
    """Add files and folders to a collection."""

    help = "Add files and folders to a collection. Exits with 1 if any file failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("paths", nargs="+", metavar="PATH", type=Path)
        parser.add_argument("--collection", default=services.DEFAULT_COLLECTION, metavar="NAME")
        parser.add_argument("--watch", action="store_true", help="follow the folders: read changes and forget deleted files until stopped")
        parser.add_argument("--user", metavar="NAME", help="whose collection; the first administrator's by default")

    def handle(self, *_args: Any, paths: list[Path], collection: str, user: str | None, watch: bool, **_options: Any) -> None:
        """Run the command."""
        missing = [str(path) for path in paths if not path.exists()]
        if missing:
            raise CommandError(f"There is no {', '.join(missing)}")
        into = services.default_collection(owner=_owner(user), name=collection)
        if watch:
            self._watch(into, paths)
            return
        found = list(ingest_cli.files(paths))
        progress = _Progress(self, len(found))
        asyncio.run(_run(into, found, progress))
        self.stdout.write(progress.summary(into.name))
        if progress.failed:
            sys.exit(1)

    def _watch(self, into: Collection, paths: list[Path]) -> None:
        """Follow folders until Ctrl+C."""
        files = [str(path) for path in paths if not path.is_dir()]
        if files:
            raise CommandError(f"Only folders can be watched. {', '.join(files)} is not a folder")
        self.stdout.write(f"Watching for “{into.name}”. Stop with Ctrl+C")
        try:
            asyncio.run(_follow(into, [str(path.resolve()) for path in paths], self._report))
        except KeyboardInterrupt:
            self.stdout.write("Stopped")

    def _report(self, outcome: Outcome) -> None:
        """Write a line about a file."""
        self.stdout.write(f"{outcome.name}: {outcome.why or ('removed' if outcome.removed else 'read')}")
        self.stdout.flush()


async def _follow(into: Collection, paths: list[str], report: Report) -> None:
    from webapp.backends.runtime import registry

    try:
        await watching.watch(into, paths, report)
    finally:
        await registry.aclose()


async def _run(into: Collection, found: list[tuple[Path, str]], progress: _Progress) -> None:
    from webapp.backends.runtime import registry

    try:
        await ingest_cli.add_all(into, found, progress.report)
    finally:
        await registry.aclose()


def _owner(name: str | None) -> User:
    people = User.objects.filter(is_active=True)
    person = people.filter(username=name).first() if name else people.order_by("-is_superuser", "pk").first()
    if person is None:
        raise CommandError(f"There is no user named {name!r}" if name else "There is no user yet: open the set-up link, or pass --user")
    return person


class _Progress:
    """A bar on a terminal, and a line for each file that failed."""

    def __init__(self, command: BaseCommand, total: int) -> None:
        self.command, self.total = command, total
        self.done = self.failed = self.existed = 0
        self.live = command.stderr.isatty()

    def report(self, outcome: Outcome) -> None:
        self.done += 1
        self.failed += bool(outcome.why)
        self.existed += outcome.existed
        if outcome.why:
            self._clear()
            self.command.stderr.write(f"{outcome.name}: {outcome.why}")
        if self.live:
            filled = BAR * self.done // self.total
            bar = "█" * filled + "░" * (BAR - filled)
            self.command.stderr.write(f"\r{bar} {self.done}/{self.total} {outcome.name[-40:]:40}", ending="")
            if self.done == self.total:
                self._clear()

    def _clear(self) -> None:
        if self.live:
            self.command.stderr.write("\r\033[K", ending="")

    def summary(self, name: str) -> str:
        added = self.done - self.failed - self.existed
        parts = [f"{added} added to “{name}”"]
        parts += [f"{self.existed} already there"] if self.existed else []
        parts += [f"{self.failed} failed"] if self.failed else []
        return ", ".join(parts)
