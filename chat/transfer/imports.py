"""Conversations from the export files of other products, with all their branches and the files that the export holds.

A file is checked before anything is written. A conversation that cannot be read is a problem of its own: the others come in.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import ModuleType
from typing import IO, Any

from django.utils.translation import gettext as _

from chat.transfer.conversations import Imported, Json, Unreadable, list_of, text_of
from chat.transfer.export_attachments import BROKEN, Archive
from chat.transfer.formats import chatgpt, claude, librechat, open_webui, patchbay

FORMATS: tuple[ModuleType, ...] = (chatgpt, claude, open_webui, patchbay, librechat)
MAX_BYTES = 50 * 1024 * 1024
"""Of one JSON file. An archive may have more: its files are read one by one where they lie."""
MAX_CONVERSATIONS = 20_000
MAX_MESSAGES = 200_000
_CONVERSATIONS = re.compile(r"(?:.*/)?conversations?(?:[-_]\d+)?\.json", re.IGNORECASE)


@dataclass(slots=True)
class ImportFile:
    """The conversations of an export file, and a sentence for each that could not be read."""

    conversations: list[Imported] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(file: IO[bytes]) -> ImportFile:
    """Return the conversations of a file: JSON, or a ZIP archive, which must stay open while the files in it are read.

    Raises:
        Unreadable: the file is not an export, or too large.
    """
    result = ImportFile()
    messages = number = 0
    for entry, archive in _entries(file):
        number += 1
        if number > MAX_CONVERSATIONS:
            raise Unreadable(_("It has more than %(n)s conversations.") % {"n": f"{MAX_CONVERSATIONS:,}"})
        try:
            conversation = _conversation(entry, archive)
        except Unreadable as error:
            result.problems.append(f"{_title(entry) or f'Conversation {number}'}: {error}")
            continue
        messages += len(conversation.turns)
        if messages > MAX_MESSAGES:
            raise Unreadable(_("It has more than %(n)s messages.") % {"n": f"{MAX_MESSAGES:,}"})
        result.conversations.append(conversation)
    return result


def _entries(file: IO[bytes]) -> Iterator[tuple[object, Archive]]:
    """Yield the conversations of a file as JSON, each with the archive that it came in."""
    data = file.read(MAX_BYTES + 1)
    if not data.startswith(b"PK\x03\x04"):
        yield from ((entry, Archive()) for entry in _listed(_json(data, "A JSON file")))
        return
    try:
        packed = zipfile.ZipFile(file)
        archive = Archive(packed)
        members = _members(packed)
    except (*BROKEN, NotImplementedError) as error:
        raise Unreadable(_("The archive cannot be read: %(problem)s") % {"problem": error}) from None
    if not members:
        raise Unreadable(_("The archive has no conversations.json."))
    for member in members:
        yield from ((entry, archive) for entry in _listed(_unpacked(packed, member)))


def _members(packed: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the files with conversations: by their name, or else all JSON files at the top."""
    files = [info for info in packed.infolist() if not info.is_dir() and "__MACOSX/" not in info.filename]
    named = [info for info in files if _CONVERSATIONS.fullmatch(info.filename)]
    others = [info for info in files if info.filename.lower().endswith(".json")]
    return sorted(named or others, key=lambda info: info.filename)


def _unpacked(packed: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    try:
        with packed.open(member) as file:
            data = file.read(MAX_BYTES + 1)
    except (*BROKEN, NotImplementedError) as error:
        raise Unreadable(_("%(name)s cannot be read: %(problem)s") % {"name": member.filename, "problem": error}) from None
    return _json(data, member.filename)


def _json(data: bytes, name: str) -> Any:
    if len(data) > MAX_BYTES:
        raise Unreadable(_("%(name)s may have %(n)s MB at most.") % {"name": name, "n": MAX_BYTES // 1024 // 1024})
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Unreadable(_("This is not a JSON file.")) from None


def _listed(found: Any) -> list[Any]:
    """Return the entries of a file: a list, a single conversation, or a list under a usual name."""
    if isinstance(found, dict) and not any(form.matches(found) for form in FORMATS):
        for name in ("conversations", "chats", "data"):
            if isinstance(found.get(name), list):
                return list_of(found[name])
    return found if isinstance(found, list) else [found]


def _conversation(entry: object, archive: Archive) -> Imported:
    if isinstance(entry, dict):
        for form in FORMATS:
            if form.matches(entry):
                found: Imported = form.parse(entry, archive)
                return found
    names = ", ".join(form.NAME for form in FORMATS)
    raise Unreadable(_("This is neither of these formats: %(names)s.") % {"names": names})


def _title(entry: object) -> str:
    if not isinstance(entry, dict):
        return ""
    chat: Json = entry["chat"] if isinstance(entry.get("chat"), dict) else {}
    return " ".join(text_of(entry.get("title") or entry.get("name") or chat.get("title")).split())[:100]
