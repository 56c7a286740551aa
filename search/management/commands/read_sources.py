"""`manage.py read_sources [--collection NAME] [--due]`."""

from __future__ import annotations

import asyncio
import sys
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db.models import QuerySet

from search.ingest_cli import finish_document
from search.models import Source
from search.sources import items, schedule
from webapp.core.database import in_database


class Command(BaseCommand):
    """Read web sources of collections now."""

    help = "Read the web pages that collections follow, and index what changed. Exits with 1 if a source failed."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--collection", metavar="NAME", help="only of this collection")
        parser.add_argument("--due", action="store_true", help="only those whose time has come")

    def handle(self, *_args: Any, collection: str | None, due: bool, **_options: Any) -> None:
        """Run the command."""
        wanted: QuerySet[Source] = schedule.due_sources() if due else Source.objects.filter(kind__in=schedule.WEB_KINDS)
        if collection:
            wanted = wanted.filter(collection__name=collection)
        sources = list(wanted.select_related("collection"))
        if not sources and not due:
            raise CommandError("No collection follows web pages. Add them on the page of a collection's sources")
        if not asyncio.run(self._read_all(sources)):
            sys.exit(1)

    async def _read_all(self, sources: list[Source]) -> bool:
        """Read the sources one after the other; return whether all could be read."""
        from webapp.backends.runtime import registry

        try:
            return all([await self._read(source) for source in sources])
        finally:
            await registry.aclose()

    async def _read(self, source: Source) -> bool:
        await schedule.read(source)
        for address, document in await in_database(items.unfinished_documents, source):
            outcome = await finish_document(document, address)
            self.stdout.write(f"{address}: {outcome.why or 'read'}")
        await in_database(source.refresh_from_db, fields=["why"])
        self.stdout.write(f"{source.collection.name}: {source}: {source.why or 'up to date'}")
        return not source.why
