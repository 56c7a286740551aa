"""Follow a folder: compare its files with those that were read before, and read what changed.

The state is in the database, so a restart continues where it was, and notices what changed meanwhile. A folder is scanned every few seconds
instead of asking the system for notifications, because those are missing on network shares and differ between systems (ADR 0026).
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from search import services
from search.models import Document, Source, SourceItem
from search.sources import items
from webapp.patterns.errors import InputError
from webapp.patterns.units import count


@dataclass(slots=True)
class Scan:
    """The files of a folder: relative path -> size and time of change. `unread` are folders that could not be listed."""

    files: dict[str, str] = field(default_factory=dict)
    unread: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Changes:
    """The result of a comparison: documents that were stored, files that failed with the reason, and paths that are gone."""

    stored: list[tuple[str, Document]] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    waiting: int = 0
    """Files that are still being written."""

    def __bool__(self) -> bool:
        """Return whether anything changed."""
        return bool(self.stored or self.failed or self.removed)


def scan(root: Path) -> Scan:
    """List the files of a folder. Hidden files and folders are skipped, and links to folders are not followed.

    Raises:
        OSError: the folder itself cannot be listed.
    """
    found = Scan()
    with os.scandir(root):  # os.walk would report a missing folder as an empty one
        pass
    for folder, folders, names in os.walk(root, onerror=lambda error: found.unread.append(_relative(root, str(error.filename)))):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)  # noqa: PTH118 - tens of thousands of Path objects would cost more than the scan
            if not name.startswith(".") and (version := _version(path)):
                found.files[_relative(root, path)] = version
    return found


def _relative(root: Path, path: str) -> str:
    return os.path.relpath(path, root)


def _version(path: str) -> str:
    """Return the size and time of a regular file; empty for anything else, and for a file that is gone."""
    try:
        status = os.stat(path)  # noqa: PTH116 - see scan
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}" if os.path.isfile(path) else ""  # noqa: PTH113 - see scan


class FolderFollower:
    """Follow one folder. A file is read when two scans in a row found it unchanged, so that half-written files are left alone.

    Args:
        source: the folder's source.

    Attributes:
        scan_seconds: how long the last scan took.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.root = Path(source.address)
        self.scan_seconds = 0.0
        self._last: dict[str, str] | None = None

    def compare(self) -> Changes:
        """Scan the folder, and store, note, and remove what changed. If it cannot be listed, nothing is removed."""
        began = time.perf_counter()
        try:
            found = scan(self.root)
        except OSError as error:
            items.note_read(source=self.source, why=f"The folder cannot be read: {error.strerror or error}")
            return Changes()
        self.scan_seconds = time.perf_counter() - began
        changes = Changes()
        known = {item.address: item for item in self.source.items.all()}
        for path, version in found.files.items():
            if path in known and known[path].version == version:
                continue
            if self._last is not None and self._last.get(path) != version:
                changes.waiting += 1
                continue
            self._read(path, version, changes, is_new=path not in known)
        for path in _gone(known, found):
            items.remove_item(item=known[path])
            changes.removed.append(path)
        self._last = found.files
        items.note_read(source=self.source, why=_unread(found.unread))
        return changes

    def _read(self, path: str, version: str, changes: Changes, *, is_new: bool) -> None:
        file = self.root / path
        try:
            if is_new and (document := self._known_document(path, file)):
                items.adopt_document(source=self.source, address=path, document=document, version=version)
                return
            content = services.pieces(file)
            document = items.store_version(source=self.source, address=path, name=path, content=content, version=version)
        except (InputError, OSError) as error:
            why = error.message if isinstance(error, InputError) else error.strerror or str(error)
            items.note_failure(source=self.source, address=path, why=why, version=version)
            changes.failed.append((path, why))
        else:
            changes.stored.append((path, document))

    def _known_document(self, path: str, file: Path) -> Document | None:
        """Return the document that `index_documents` made of this file before the folder was followed."""
        namesakes = Document.objects.filter(collection=self.source.collection_id, name=services.clean_name(path), file_id=None)
        free = namesakes.exclude(state__in=Document.UNUSABLE).exclude(pk__in=SourceItem.objects.exclude(document=None).values("document"))
        document = free.defer("text").first()
        if document is None:
            return None
        with file.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return document if document.digest == digest else None


def _unread(folders: Sequence[str]) -> str:
    """Return which folders could not be listed, in words; empty for none."""
    return f"{count(len(folders), 'folder')} could not be read: {folders[0]}" if folders else ""


def _gone(known: dict[str, SourceItem], found: Scan) -> Iterator[str]:
    """Yield the known paths that are gone. What lies in a folder that could not be listed is not gone."""
    unread = tuple(f"{folder}{os.sep}" for folder in found.unread)
    for path in known:
        if path not in found.files and not path.startswith(unread):
            yield path
