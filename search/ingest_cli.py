"""Files and folders of this machine into a collection, by this process: what `index_documents` does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from search import ingestion, services
from search.models import Collection, Document
from webapp.core.database import in_database
from webapp.patterns.errors import InputError

LOOK_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a file. `why` says why it failed, and is empty otherwise."""

    name: str
    why: str = ""
    existed: bool = False


def files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Each file with its name: relative to the folder that was given. Hidden files are left out."""
    for path in paths:
        if path.is_file():
            yield path, path.name
        for inner in sorted(path.rglob("*")) if path.is_dir() else ():
            if inner.is_file() and not any(part.startswith(".") for part in inner.relative_to(path).parts):
                yield inner, str(inner.relative_to(path))


async def add_all(collection: Collection, found: Iterable[tuple[Path, str]], report: Callable[[Outcome], None]) -> None:
    """Add and ingest each file, and report it. One file's failure leaves the others alone."""
    for path, name in found:
        report(await _add(collection, path, name))


async def _add(collection: Collection, path: Path, name: str) -> Outcome:
    try:
        added = await in_database(services.add_file, collection=collection, name=name, content=services.pieces(path))
    except InputError as error:
        return Outcome(name, error.message)
    except OSError as error:
        return Outcome(name, error.strerror or str(error))
    if added.existed and not added.document.under_way:
        return Outcome(name, existed=True)
    return await _end(added.document, name)


async def _end(document: Document, name: str) -> Outcome:
    """Ingest it, or see another process do so: whoever that is may be killed, and leave it to this one."""
    while True:
        if await in_database(ingestion.claim_one, document.pk):
            await ingestion.ingest(document.pk)
        current = await in_database(Document.objects.only("state", "why").filter(pk=document.pk).first)
        if current is None:
            return Outcome(name, "It was deleted while it was being read")
        if not current.under_way:
            return Outcome(name, current.why if current.state == Document.State.FAILED else "")
        await asyncio.sleep(LOOK_SECONDS)
