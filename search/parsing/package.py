"""ZIP packages of XML parts (Office Open XML, OpenDocument, EPUB), read with bounds on their unpacked size."""

from __future__ import annotations

import posixpath
import zipfile
from typing import Any, BinaryIO
from urllib.parse import unquote

from lxml import etree

from search.parsing.document import Unreadable

MAX_UNPACKED = 200 * 1024 * 1024
MAX_RATIO = 400
"""Real XML parts shrink by 5 to 100 times; a bomb by 1,000."""
TEXT_SUFFIXES = (".xml", ".rels", ".xhtml", ".html")
SMALL_PART = 4 * 1024 * 1024
RELATIONSHIPS = "{http://schemas.openxmlformats.org/package/2006/relationships}Relationship"


class Package:
    """A ZIP package. Parts are named without a leading slash.

    Raises `Unreadable` for a package that unpacks to far more than it is, or that is encrypted.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._zip = zipfile.ZipFile(file)
        self._left = MAX_UNPACKED
        self.damaged: set[str] = set()
        self.names = {entry.filename.lstrip("/"): entry for entry in self._zip.infolist()}
        for entry in self.names.values():
            if entry.filename.endswith(TEXT_SUFFIXES):
                self._refuse_bomb(entry)

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def read(self, name: str) -> bytes:
        """Return a part's bytes; the parts read together stay below MAX_UNPACKED. Raises `KeyError` for a part that is missing."""
        entry = self.names[name]
        if entry.flag_bits & 1:
            raise Unreadable("It is encrypted. Remove its password")
        self._refuse_bomb(entry)
        with self._zip.open(entry) as part:
            content = part.read(min(entry.file_size, self._left) + 1)
        self._left -= len(content)
        return content

    def _refuse_bomb(self, entry: zipfile.ZipInfo) -> None:
        """Raise `Unreadable` for a part that would unpack to far more than ordinary documents hold."""
        if entry.file_size > self._left or (entry.file_size > SMALL_PART and entry.file_size > entry.compress_size * MAX_RATIO):
            raise Unreadable(f"It would unpack to {entry.file_size // 1024 // 1024} MB or more: that is not an ordinary document")

    def xml(self, name: str) -> Any:
        """Return the root element of an XML part. Entities are not resolved; a part that had to be mended counts as damaged."""
        root, is_whole = _parse(self.read(name))
        if not is_whole:
            self.damaged.add(name)
        return root

    def matching(self, prefix: str, suffix: str = ".xml") -> list[str]:
        """Return the names of parts with this beginning and end, in natural order (`slide2` before `slide10`)."""
        found = [name for name in self.names if name.startswith(prefix) and name.endswith(suffix)]
        return sorted(found, key=lambda name: (len(name), name))

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """Return the relationships of a part of an Office package: id → (last word of the type, part name), external ones left out."""
        folder, base = posixpath.split(part)
        rels = posixpath.join(folder, "_rels", base + ".rels")
        if rels not in self:
            return {}
        found = {}
        for each in self.xml(rels).iter(RELATIONSHIPS):
            if each.get("TargetMode") != "External" and each.get("Target"):
                found[each.get("Id", "")] = (each.get("Type", "").rpartition("/")[2], resolve(part, each.get("Target")))
        return found


def resolve(part: str, target: str) -> str:
    """Return the part name that `target`, written in `part`, points to."""
    target = unquote(target.partition("#")[0])
    joined = target if target.startswith("/") else posixpath.join(posixpath.dirname(part), target)
    return posixpath.normpath("/" + joined).lstrip("/")


def parse_xml(content: bytes) -> Any:
    """Parse XML without entities, network or DTD; faults are mended. Raises `lxml.etree.LxmlError`, or `Unreadable` beyond 2,048 levels."""
    return _parse(content)[0]


def _parse(content: bytes) -> tuple[Any, bool]:
    """Return the root, and whether the XML had no faults at which text may be lost."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, huge_tree=True, recover=True, remove_comments=True, remove_pis=True
    )
    root = etree.fromstring(content, parser)
    if any(error.type_name == "ERR_RESOURCE_LIMIT" for error in parser.error_log):
        raise Unreadable("It nests its parts more than 2,048 levels deep")
    if root is None:
        raise etree.XMLSyntaxError("it holds no XML", 0, 0, 0)
    return root, not any(error.type_name.startswith("ERR_") for error in parser.error_log)


def local(element: Any) -> str:
    """Return an element's name without its namespace."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: Any, name: str) -> str:
    """Return an attribute by its name without a namespace; empty where the element has none."""
    return next((str(value) for key, value in element.attrib.items() if key.rpartition("}")[2] == name), "")
