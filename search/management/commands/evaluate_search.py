"""`manage.py evaluate_search --collection NAME [--queries N] [--half even|odd]`."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from search.models import Collection
from search.ranking import evaluation
from search.ranking.evaluation import HALVES, Half, Item, Quality
from search.ranking.query import Mode


class Command(BaseCommand):
    """Measure the search of a collection."""

    help = "Measure keyword, semantic and hybrid search by known-item queries made from a collection's own headings."

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the arguments."""
        parser.add_argument("--collection", required=True, metavar="NAME")
        parser.add_argument("--user", metavar="NAME", help="its owner, where several people have a collection of that name")
        parser.add_argument("--queries", type=int, default=300, metavar="N")
        parser.add_argument(
            "--half", choices=list(HALVES), default="both", help="of the queries: what is chosen on one half is measured on the other"
        )

    def handle(self, *_args: Any, collection: str, user: str | None, queries: int, half: Half, **_options: Any) -> None:
        """Run the command."""
        found = Collection.objects.filter(name=collection).select_related("owner")
        chosen = list(found.filter(owner__username=user) if user else found)
        if len(chosen) != 1:
            raise CommandError(f"{len(chosen) or 'No'} collections are named {collection!r}" + ("" if user else ": say whose with --user"))
        items = evaluation.known_items(chosen[0], queries, half=half)
        if not items:
            raise CommandError("The collection has no headings to ask for")
        self.stdout.write(f"{len(items)} known-item queries over {chosen[0].name}")
        self.stdout.write(f"{'':10}{'recall@10':>10}{'MRR@10':>10}{'nDCG@10':>10}")
        for mode, measured in asyncio.run(_run(chosen[0], items)).items():
            self.stdout.write(f"{mode:10}{measured.recall:>10.3f}{measured.mrr:>10.3f}{measured.ndcg:>10.3f}")


async def _run(collection: Collection, items: list[Item]) -> dict[Mode, Quality]:
    from webapp.backends.runtime import registry

    try:
        return await evaluation.evaluate(collection, items)
    finally:
        await registry.aclose()
