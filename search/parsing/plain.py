"""Text in any encoding, Markdown and source code: the text stays as it is, only its headings are found."""

from __future__ import annotations

import codecs
import re

from search.parsing.document import MAX_CHARS, Heading, Parsed, Unreadable

BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE = 65_536
MAX_CONTROL_SHARE = 0.02
MIN_UTF16_ZEROS = 0.3
CODE_HEADS = re.compile(
    r"^(?P<indent>[ \t]*)(?:(?:export|public|private|protected|static|async|abstract|pub|default)[ \t]+)*"
    r"(?:def|class|func|fn|function|struct|interface|trait|impl|enum|module|type|namespace)[ \t]+(?P<name>[^\s({:<;=]+)",
    re.MULTILINE,
)
ATX = re.compile(r"^ {0,3}(#{1,6})[ \t]+(\S.*)$")
FENCE = re.compile(r"^ {0,3}(```+|~~~+)")
UNDERLINE = re.compile(r"^([=\-~^\"'`#*+.:_])\1{2,}[ \t]*$")
MAX_TITLE_CHARS = 120


def decode(raw: bytes) -> str:
    """The bytes as text: by byte-order mark, as UTF-8, as UTF-16 without a mark, else as Windows-1252; binary data is refused."""
    for bom, encoding in BOMS:
        if raw.startswith(bom):
            return _checked(raw.decode(encoding, errors="replace"))
    try:
        return _checked(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return _checked(raw.decode(_guess(raw), errors="replace"))


def _guess(raw: bytes) -> str:
    sample = raw[:SAMPLE]
    odd, even = sample[1::2].count(0), sample[0::2].count(0)
    if max(odd, even) > len(sample) / 2 * MIN_UTF16_ZEROS:
        return "utf-16-le" if odd > even else "utf-16-be"
    return "cp1252"


def _checked(text: str) -> str:
    """`text` with one kind of line ends and no NUL, unless it is no text at all."""
    sample = text[:SAMPLE]
    strange = sum(1 for char in sample if (ord(char) < 32 and char not in "\t\n\r\f\x1b") or char == "\ufffd")
    if "\0" in sample and sample.count("\0") > len(sample) * MIN_UTF16_ZEROS:
        return _checked(text.encode().decode("utf-16-le" if sample[1:2] == "\0" else "utf-16-be", errors="replace"))
    if strange > len(sample) * MAX_CONTROL_SHARE:
        raise Unreadable("It is binary data, not text")
    if len(text) > MAX_CHARS:
        raise Unreadable(f"It contains more than {MAX_CHARS // 1_000_000} million characters. Split it")
    return text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd")


def text(raw: bytes) -> Parsed:
    """Plain text; underlined titles (reStructuredText, setext) are its headings."""
    content = decode(raw)
    return Parsed("text", content, _underlined(content))


def code(raw: bytes) -> Parsed:
    """Source code; what it defines are its headings, deeper by indentation."""
    content = decode(raw)
    headings = [
        Heading(match.start(), 1 + len(match["indent"].expandtabs(4)) // 4, match["name"][:MAX_TITLE_CHARS])
        for match in CODE_HEADS.finditer(content)
    ]
    return Parsed("code", content, headings)


def markdown(raw: bytes) -> Parsed:
    """Markdown: ATX and setext headings outside code fences."""
    content = decode(raw)
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
    return Parsed("markdown", content, headings)


def _unclosed(title: str) -> str:
    """An ATX heading's text without the number signs that may close it: `C# ##` is `C#`."""
    before, _, last = title.rstrip().rpartition(" ")
    return title.rstrip() if last.strip("#") else before.rstrip()


def _underlined(content: str) -> list[Heading]:
    """Titles with a line of marks of at least their length below; levels in order of first use, as reStructuredText has it."""
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
