"""Measure the quality of a collection's search with known-item queries made from its own headings.

A query is a heading that occurs once in the corpus. The right answers are the passages below it.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from search.chunking import SEPARATOR
from search.models import Chunk, Collection
from search.ranking import query
from search.ranking.query import MODES, Mode
from search.selectors import Filters

DEPTH = 10
MIN_WORDS = 2

Half = Literal["both", "even", "odd"]
HALVES: dict[Half, slice] = {"both": slice(None), "even": slice(0, None, 2), "odd": slice(1, None, 2)}


@dataclass(frozen=True, slots=True)
class Item:
    """A query and the passages that answer it."""

    text: str
    relevant: frozenset[int]


@dataclass(frozen=True, slots=True)
class Quality:
    """Means over all queries: whether one of the first ten is right, 1/rank of the first right one, and nDCG with one right passage."""

    recall: float
    mrr: float
    ndcg: float


def known_items(collection: Collection, count: int, *, half: Half = "both", seed: int = 7) -> list[Item]:
    """Return up to `count` queries, the same for the same corpus and seed. Choose parameters on one half and measure on the other."""
    places: dict[str, dict[str, set[int]]] = defaultdict(lambda: defaultdict(set))
    for pk, heading in Chunk.objects.filter(collection=collection).exclude(heading="").order_by("pk").values_list("pk", "heading"):
        places[heading.rsplit(SEPARATOR, 1)[-1].strip().lower()][heading].add(pk)
    items = [
        Item(title, frozenset(next(iter(paths.values()))))
        for title, paths in places.items()
        if len(paths) == 1 and len(title.split()) >= MIN_WORDS
    ]
    random.Random(seed).shuffle(items)  # noqa: S311 - a sample, not a secret
    return items[HALVES[half]][:count]


async def evaluate(collection: Collection, items: Sequence[Item]) -> dict[Mode, Quality]:
    """Return the quality of each mode over these queries, with the rights of the collection's owner."""
    filters = Filters(collection=collection.pk)
    ranks: dict[Mode, list[int | None]] = {mode: [] for mode in MODES}
    for item in items:
        for mode in MODES:
            found = (await query.search(collection.owner, item.text + " ", mode=mode, filters=filters, limit=DEPTH)).found
            ranks[mode].append(next((rank for rank, result in enumerate(found, 1) if result.chunk.pk in item.relevant), None))
    return {mode: quality(its) for mode, its in ranks.items()}


def quality(ranks: Sequence[int | None]) -> Quality:
    """Compute the quality from the rank of each query's first right answer; None if it is not among the first ten."""
    hits = [rank for rank in ranks if rank is not None]
    count = max(len(ranks), 1)
    return Quality(
        recall=len(hits) / count,
        mrr=sum(1 / rank for rank in hits) / count,
        ndcg=sum(1 / math.log2(rank + 1) for rank in hits) / count,
    )
