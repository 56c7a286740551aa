"""What parsers make of a file: its text, and where its headings are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from webapp.patterns import sanitize

MAX_CHARS = 20_000_000


class Unreadable(Exception):
    """The file cannot be read; the message is for people."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading at an offset of the text; level 1 is the outermost. `title` need not stand in the text."""

    start: int
    level: int
    title: str


@dataclass(slots=True)
class Parsed:
    """A file as text."""

    kind: str
    text: str = ""
    headings: list[Heading] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "text": self.text, "headings": [[h.start, h.level, h.title] for h in self.headings]}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Parsed:
        return cls(value["kind"], value["text"], [Heading(*heading) for heading in value["headings"]])


class Writer:
    """Builds a text piece by piece, with its headings.

    Raises `Unreadable` past MAX_CHARS: a small file may unpack to any size.
    """

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self.headings: list[Heading] = []

    def add(self, text: str, end: str = "\n\n") -> None:
        """Append a block of text; blank blocks are left out."""
        text = sanitize.text(text).strip()
        if not text:
            return
        self._pieces += (text, end)
        self._length += len(text) + len(end)
        if self._length > MAX_CHARS:
            raise Unreadable(f"It contains more than {MAX_CHARS // 1_000_000} million characters of text. Split it")

    def mark(self, level: int, title: str) -> None:
        """Begin a section here, under a title that the text does not hold."""
        self.headings.append(Heading(self._length, level, " ".join(sanitize.text(title).split())[:200]))

    def head(self, level: int, title: str) -> None:
        """Append a heading."""
        if title.strip():
            self.mark(level, title)
            self.add(" ".join(title.split()))

    def parsed(self, kind: str) -> Parsed:
        return Parsed(kind, "".join(self._pieces).rstrip() + "\n" if self._pieces else "", self.headings)
