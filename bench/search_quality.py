"""Measure the quality of search on questions with known answers, through the whole product.

python -m bench search_quality FOLDER [--home HOME] [--minutes 10]

FOLDER/documents holds files of any kind that search reads. Each line of FOLDER/questions.jsonl is an object with "question", "documents"
(the names of the files that answer it), and optionally "language". The files are indexed with the default model, and each question is asked
by words, by meaning, and by both. nDCG@10 and recall@10 count the first passage of a right document. With --home, the index is kept and
used again.

The whole takes about --minutes. Documents that are not indexed in half of that time are left out, with their questions. The other questions
are asked in a mixed order until the time is over. The table says how many were asked.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEPTH = 10
NAMES = {"keyword": "words", "semantic": "meaning", "hybrid": "both"}


@dataclass(frozen=True, slots=True)
class Question:
    """A question and the names of the documents that answer it."""

    text: str
    documents: frozenset[str]
    language: str


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench search_quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--home", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    options = parser.parse_args()
    if options.folder is None:
        print("Name a folder with documents/ and questions.jsonl (see docs/search.md).")
        return
    questions = read_questions(options.folder / "questions.jsonl")
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        user = start(options.home or Path(temporary))
        ready = index(user, sorted((options.folder / "documents").rglob("*")), began + options.minutes * 30)
        questions = [question for question in questions if question.documents & ready]
        random.Random(3).shuffle(questions)
        report(asyncio.run(ranks(user, questions, began + options.minutes * 60)), questions)
        print(f"{time.monotonic() - began:.0f} s")


def read_questions(path: Path) -> list[Question]:
    """Return the questions of a file of JSON lines."""
    rows = map(json.loads, path.read_text().splitlines())
    return [Question(row["question"], frozenset(row["documents"]), row.get("language", "")) for row in rows]


def start(home: Path) -> Any:
    """Prepare an installation in `home`, and return its user."""
    os.environ |= {"PATCHBAY_HOME": str(home), "PATCHBAY_DETECT": "0", "DJANGO_SETTINGS_MODULE": "webapp.settings"}
    import django

    django.setup()
    from django.core.management import call_command

    from webapp.accounts.models import User
    from webapp.backends.services import seeding

    call_command("migrate", verbosity=0)
    seeding.seed()
    return User.objects.get_or_create(username="bench")[0]


def index(user: Any, paths: Sequence[Path], deadline: float) -> frozenset[str]:
    """Add the files that the collection lacks, read them until the deadline, and return the names of those that are ready."""
    from search import ingestion, services
    from webapp.backends.runtime import registry

    collection = services.default_collection(owner=user, name="Bench")

    async def ingest() -> None:
        done = 0
        while time.monotonic() < deadline and (document := await asyncio.to_thread(ingestion.claim)) is not None:
            await ingestion.ingest(document)
            done += 1
            progress(f"{done} documents read")
        await registry.aclose()

    for path in paths:
        if path.is_file():
            services.add_file(collection=collection, name=path.name, content=services.pieces(path))
    asyncio.run(ingest())
    ready = collection.documents.filter(state="ready")
    failed = list(collection.documents.filter(state="failed").values_list("name", flat=True))
    late = collection.documents.exclude(state__in=["ready", "failed"]).count()
    print(f"{ready.count()} documents, {sum(ready.values_list('passages', flat=True))} passages; ", end="")
    print(f"not read: {failed or 'none'}; not reached in time: {late}", flush=True)
    return frozenset(ready.values_list("name", flat=True))


def progress(text: str) -> None:
    """Show how far the run is, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}", end="", file=sys.stderr, flush=True)


async def ranks(user: Any, questions: Sequence[Question], deadline: float) -> dict[str, list[int | None]]:
    """Return the rank of the first right passage of each question, for each mode; None if it is not among the first ten.

    The lists are shorter than the questions if the deadline comes first.
    """
    from search.ranking import query
    from webapp.backends.runtime import registry

    found: dict[str, list[int | None]] = defaultdict(list)
    for number, question in enumerate(questions, 1):
        if time.monotonic() > deadline:
            break
        for mode in query.MODES:
            results = (await query.search(user, question.text + " ", mode=mode, limit=DEPTH)).found
            right = (rank for rank, result in enumerate(results, 1) if result.chunk.document.name in question.documents)
            found[mode].append(next(right, None))
        progress(f"{number} of {len(questions)} questions")
    await registry.aclose()
    return found


def report(found: dict[str, list[int | None]], questions: Sequence[Question]) -> None:
    """Print nDCG@10 and recall@10 of each mode, for each language."""
    asked = questions[: len(found["hybrid"])]
    print(f"\n{len(asked)} of {len(questions)} questions asked (nDCG@10, recall@10):")
    print(f"{'':12}" + "".join(f"{name:>20}" for name in NAMES.values()))
    for language in sorted({question.language for question in asked}):
        cells = []
        for mode in NAMES:
            its = [rank for rank, question in zip(found[mode], asked, strict=True) if question.language == language]
            ndcg = sum(1 / math.log2(rank + 1) for rank in its if rank) / len(its)
            cells.append(f"{ndcg:13.3f}  {sum(rank is not None for rank in its) / len(its):.3f}")
        print(f"{language or 'all':>5} {len(its):6}" + "".join(cells))


if __name__ == "__main__":
    main()
