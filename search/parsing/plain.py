"""Text in any encoding, Markdown and source code: the text stays as it is, only its headings are found."""

from __future__ import annotations

import re

from search.parsing.document import MAX_CHARS, Heading, Parsed, Unreadable, searchable
from search.parsing.tables import encoding_note
from webapp.core import text_encoding

CODE_HEADS = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?:export|public|private|protected|static|async|abstract|pub|default)[ \t]+)*"
    r"(?:def|class|func|fn|function|struct|interface|trait|impl|enum|module|type|namespace)[ \t]+(?P<name>[^\s({:<;=]+)",
    re.MULTILINE,
)
ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(\S.*)$")
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$")
MAX_TITLE_CHARS = 120


def _decode(raw: bytes) -> tuple[str, list[str]]:
    """Return the text and notes about its encoding."""
    decoded = text_encoding.decode(raw)
    if len(decoded.text) > MAX_CHARS:
        raise Unreadable(f"It contains more than {MAX_CHARS // 1_000_000} million characters. Split it")
    note = encoding_note(decoded)
    return searchable(decoded.text), [note] if note else []


def text(raw: bytes) -> Parsed:
    """Return plain text; underlined titles (reStructuredText, setext) are its headings."""
    content, notes = _decode(raw)
    return Parsed("text", content, _underlined(content), notes)


def code(raw: bytes) -> Parsed:
    """Return source code; its definitions are the headings, deeper by indentation."""
    content, notes = _decode(raw)
    headings = [
        Heading(match.start(), 1 + len(match["indent"].expandtabs(4)) // 4, match["name"][:MAX_TITLE_CHARS])
        for match in CODE_HEADS.finditer(content)
    ]
    return Parsed("code", content, headings, notes)


def markdown(raw: bytes) -> Parsed:
    """Return Markdown; ATX and setext headings outside code fences are the headings."""
    content, notes = _decode(raw)
    headings: list[Heading] = []
    position, fence, previous = 0, "", ("", 0)
    for line in content.splitlines(keepends=True):
        bare = line.rstrip("\n")
        if opened := FENCE.match(bare):
            fence = "" if fence and opened[1].startswith(fence) else fence or opened[1]
        elif not fence and (found := ATX.match(bare)) and (title := _unclosed(found[2])):
            headings.append(Heading(position, len(found[1]), title))
        elif not fence and re.match(r"^(=+|-{3,})\s*$", bare) and previous[0].strip() and not previous[0].startswith(("|", "-", "#", ">")):
            headings.append(Heading(previous[1], 1 if bare[0] == "=" else 2, previous[0].strip()[:MAX_TITLE_CHARS]))
        previous = (bare, position)
        position += len(line)
    return Parsed("markdown", content, headings, notes)


def _unclosed(title: str) -> str:
    """Return an ATX heading's text without the number signs that may close it: `C# ##` is `C#`."""
    before, _, last = title.rstrip().rpartition(" ")
    return title.rstrip() if last.strip("#") else before.rstrip()


def _underlined(content: str) -> list[Heading]:
    """Return titles with a line of marks of at least their length below; levels in order of first use, as reStructuredText has it."""
    headings: list[Heading] = []
    levels: dict[str, int] = {}
    position, previous = 0, ("", 0)
    for line in content.splitlines(keepends=True):
        bare = line.rstrip("\n")
        title = previous[0].strip()
        if (
            UNDERLINE.match(bare)
            and 0 < len(title) <= len(bare.rstrip()) + 2
            and len(title) <= MAX_TITLE_CHARS
            and not UNDERLINE.match(title)
        ):
            headings.append(Heading(previous[1], levels.setdefault(bare[0], len(levels) + 1), title))
        previous = (bare, position)
        position += len(line)
    return headings
