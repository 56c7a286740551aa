"""Files in an export: members of ChatGPT's archive, and data inside of messages."""

from __future__ import annotations

import base64
import io
import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import PurePosixPath
from typing import IO

BROKEN = (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, OSError, ValueError)
"""Exceptions of a file that is damaged, encrypted, or packed by an unknown method."""
_ID = re.compile(r"file[-_][A-Za-z0-9]+")


@dataclass(frozen=True, slots=True)
class Enclosed:
    """A file of a message; `open` gives its bytes, or raises one of `BROKEN`, then or while it is read."""

    name: str
    open: Callable[[], IO[bytes]]


class Archive:
    """The files of an archive by the ids that its messages name them with. Nothing is unpacked before it is read."""

    def __init__(self, archive: zipfile.ZipFile | None = None) -> None:
        self._found: dict[str, Enclosed] = {}
        for info in archive.infolist() if archive else ():
            name = PurePosixPath(info.filename).name
            if archive and (key := id_of(name)):
                own = name.removeprefix(key).lstrip("-_")
                self._found.setdefault(key, Enclosed(name if own[:1] in {"", "."} else own, partial(archive.open, info)))

    def find(self, pointer: str, name: str = "") -> Enclosed | None:
        """Return the file that an id or an address like `sediment://file_…` means."""
        found = self._found.get(id_of(pointer))
        return Enclosed(name, found.open) if found and name else found


def id_of(pointer: str) -> str:
    """Return the id of a file in an address or a name; empty where there is none."""
    found = _ID.match(PurePosixPath(pointer).name)
    return found[0] if found else ""


def from_data_url(url: str, name: str) -> Enclosed | None:
    """Return the file inside of a `data:` address; None for any other address."""
    head, _, data = url.partition(",")
    if not (head.startswith("data:") and head.endswith(";base64")):
        return None
    return Enclosed(name, lambda: io.BytesIO(base64.b64decode(data)))


def from_text(text: str, name: str) -> Enclosed:
    """Return the text that was read from a file, as a text file."""
    return Enclosed(name if name.lower().endswith((".txt", ".md", ".csv")) else f"{name}.txt", lambda: io.BytesIO(text.encode()))
