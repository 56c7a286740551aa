"""Define the result of a parser: the text of a file, its headings, and notes about the parts that could not be read."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from typing import Any

from webapp.patterns import sanitize

MAX_CHARS = 20_000_000
MAX_NOTES = 20
# Presentation forms that fonts draw as one glyph, and characters that are invisible within a word: with them, a search finds nothing.
_LIGATURES = {chr(code): unicodedata.normalize("NFKC", chr(code)) for code in range(0xFB00, 0xFB07)}
_INVISIBLE = dict.fromkeys(map(chr, (0x00AD, 0x2060, 0xFEFF, 0x200B)), "")
_REPLACED = str.maketrans(_LIGATURES | _INVISIBLE | {"\u2011": "-", "\u00a0": " ", "\u202f": " "})


class Unreadable(Exception):
    """The file cannot be read; the message is for people.

    Attributes:
        scanned: how many pages or pictures text recognition (OCR) may read.
        unsupported: whether Patchbay reads no files of this kind.
    """

    def __init__(self, message: str, *, scanned: int = 0, unsupported: bool = False) -> None:
        super().__init__(message)
        self.scanned = scanned
        self.unsupported = unsupported


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading at an offset of the text; level 1 is the outermost, 0 the document's title. `title` need not stand in the text."""

    start: int
    level: int
    title: str


@dataclass(slots=True)
class Parsed:
    """A file as text.

    Attributes:
        notes: sentences for the reader about parts that were not read, and about guesses.
        scanned: how many pages hold pictures and no text, so that text recognition (OCR) may read them.
        pages: of a PDF, the offset in the text at which each page begins.
    """

    kind: str
    text: str = ""
    headings: list[Heading] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    scanned: int = 0
    pages: list[int] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the JSON that `from_json` reads."""
        headings = [[heading.start, heading.level, heading.title] for heading in self.headings]
        others = {"notes": self.notes, "scanned": self.scanned, "pages": self.pages}
        return {"kind": self.kind, "text": self.text, "headings": headings} | others

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Parsed:
        """Build from the JSON of `as_json`."""
        headings = [Heading(*heading) for heading in value["headings"]]
        return cls(value["kind"], value["text"], headings, value["notes"], value["scanned"], value["pages"])


def searchable(text: str) -> str:
    """Return the text composed (NFC), ligatures as letters, and without soft hyphens and other invisible characters."""
    text = sanitize.text(text)
    return text if text.isascii() else unicodedata.normalize("NFC", text).translate(_REPLACED)


class Writer:
    """Build a text block by block, with its headings and notes.

    Raises `Unreadable` past MAX_CHARS: a small file may unpack to any size.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self.headings: list[Heading] = []
        self.notes: list[str] = []
        self.scanned = 0
        self.pages: list[int] = []

    def begin_page(self) -> None:
        """Begin a page here."""
        self.pages.append(self._length)

    def add(self, text: str, end: str = "\n\n") -> None:
        """Append a block of text; a blank block adds nothing."""
        text = searchable(text).strip()
        if not text:
            return
        self._pieces += (text, end)
        self._length += len(text) + len(end)
        if self._length > MAX_CHARS:
            raise Unreadable(f"It contains more than {MAX_CHARS // 1_000_000} million characters of text. Split it")

    def mark(self, level: int, title: str) -> None:
        """Begin a section here, under a title that the text does not hold."""
        self.headings.append(Heading(self._length, level, one_line(searchable(title))[:200]))

    def head(self, level: int, title: str) -> None:
        """Append a heading."""
        if title.strip():
            self.mark(level, title)
            self.add(one_line(title))

    def note(self, text: str) -> None:
        """Tell the reader about a part that was not read; at most MAX_NOTES notes are kept."""
        if text not in self.notes and len(self.notes) < MAX_NOTES:
            self.notes.append(text)

    def include(self, parsed: Parsed, *, deeper: int = 0) -> None:
        """Append another parsed text with its headings, `deeper` levels below, and its notes."""
        offset = self._length
        self.headings += [Heading(offset + heading.start, heading.level + deeper, heading.title) for heading in parsed.headings]
        self.scanned += parsed.scanned
        self.add(parsed.text)
        for note in parsed.notes:
            self.note(note)

    @property
    def empty(self) -> bool:
        """Whether no text was added yet."""
        return not self._pieces

    def parsed(self, kind: str) -> Parsed:
        """Return all that was added."""
        text = "".join(self._pieces).rstrip() + "\n" if self._pieces else ""
        return Parsed(kind, text, self.headings, self.notes, self.scanned, self.pages)


def one_line(text: str) -> str:
    """Return the text with every run of white space as one space."""
    return re.sub(r"\s+", " ", text).strip()
