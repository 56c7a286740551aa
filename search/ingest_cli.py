"""Ingest files and folders of this machine into a collection, in this process, for `index_documents`."""

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
    """The result for a file. `why` is the reason of a failure, otherwise empty."""

    name: str
    why: str = ""
    existed: bool = False
    removed: bool = False


def files(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield each file with its name relative to the given folder. Hidden files are skipped."""
    for path in paths:
        if path.is_file():
            yield path, path.name
        for inner in sorted(path.rglob("*")) if path.is_dir() else ():
            if inner.is_file() and not any(part.startswith(".") for part in inner.relative_to(path).parts):
                yield inner, str(inner.relative_to(path))


async def add_all(collection: Collection, found: Iterable[tuple[Path, str]], report: Callable[[Outcome], None]) -> None:
    """Add and ingest each file, and report it. A failure of one file does not affect the others."""
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
    return await finish_document(added.document, name)


async def finish_document(document: Document, name: str) -> Outcome:
    """Ingest the document, or wait for another process that does. If that process is killed, this one takes over."""
    while True:
        if claimed := await in_database(ingestion.claim_one, document):
            await ingestion.ingest(claimed)
        current = await in_database(Document.objects.only("state", "why").filter(pk=document.pk).first)
        if current is None:
            return Outcome(name, "It was deleted while it was being read")
        if not current.under_way:
            return Outcome(name, current.why if current.state == Document.State.FAILED else "")
        await asyncio.sleep(LOOK_SECONDS)
