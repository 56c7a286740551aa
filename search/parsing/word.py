"""DOCX and its siblings (DOCM, DOTX, DOTM): all text that Word shows, in the document's order, and none that a tracked change deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lxml import etree

from search.parsing import html
from search.parsing.document import Parsed, Writer, one_line
from search.parsing.package import Package, attribute, local

MAIN_TYPES = ("officeDocument",)
# Deleted or moved text, instructions of fields, properties, and the older copy of a drawing.
_SKIPPED = """
    del moveFrom delText instrText delInstrText rPr tblPr trPr tcPr tblGrid sectPr sdtPr sdtEndPr pPrChange rPrChange Fallback binData
    fldData annotationRef
"""
SKIPPED = frozenset(_SKIPPED.split())
MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
MATH_MARKS = {"den": "/", "rad": "√", "nary": " ", "f": " ", "mr": " ", "eqArr": " "}
NOTE_PARTS = {"footnoteReference": "footnotes", "endnoteReference": "endnotes", "commentReference": "comments"}
NOTE_NAMES = {"footnotes": "Footnote", "endnotes": "Endnote", "comments": "Comment"}
HEADING_NAME = re.compile(r"^(?:heading|überschrift|titre|título|titolo|kop|rubrik) ?(\d)$", re.IGNORECASE)
PRIVATE_USE = range(0xE000, 0xF900)


def parse(package: Package, main: str) -> Parsed:
    """Return the text of the part `main` with its notes, comments, headers, footers, diagrams and charts.

    Raises:
        lxml.etree.LxmlError, KeyError: the package is damaged.
    """
    related = package.related(main)
    writer = Writer()
    reader = _Reader(writer, _heading_levels(package, related), _notes(package, related), _alternative(package, related))
    reader.read(package.xml(main))
    margins = _margins(package, related)
    if margins:
        writer.mark(1, "Headers and footers")
        for text in margins:
            writer.add(text)
    for name in [*package.matching("word/charts/chart"), *package.matching("word/diagrams/data")]:
        writer.add(drawing_text(package.xml(name)))
    return writer.parsed("docx")


def drawing_text(root: Any) -> str:
    """Return the paragraphs of a DrawingML part (a chart, a diagram), and the names and categories of a chart."""
    lines = []
    for element in root.iter():
        name = local(element)
        if name == "p":
            lines.append("".join(each.text or "" for each in element.iter() if local(each) == "t"))
        elif name == "strCache":
            lines.append(", ".join(each.text or "" for each in element.iter() if local(each) == "v"))
    return "\n".join(dict.fromkeys(line for line in lines if line.strip()))


def _heading_levels(package: Package, related: dict[str, tuple[str, str]]) -> dict[str, int]:
    """Return the outline level (from 1) of each paragraph style that is a heading, or is based on one."""
    name = next((part for kind, part in related.values() if kind == "styles" and part in package), None)
    levels: dict[str, int] = {}
    based: dict[str, str] = {}
    for style in package.xml(name).iter() if name else ():
        if local(style) != "style":
            continue
        style_id = attribute(style, "styleId")
        for child in style.iter():
            value = attribute(child, "val")
            if local(child) == "name" and (found := HEADING_NAME.match(value)):
                levels[style_id] = int(found[1])
            elif local(child) == "name" and value.lower() == "title":
                levels[style_id] = 1
            elif local(child) == "outlineLvl" and value.isdigit() and int(value) < 9:
                levels.setdefault(style_id, int(value) + 1)
            elif local(child) == "basedOn":
                based[style_id] = value
    for style_id, parent in based.items():
        if style_id not in levels and parent in levels:
            levels[style_id] = levels[parent]
    return levels


def _notes(package: Package, related: dict[str, tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Return the texts of footnotes, endnotes and comments by (kind, id)."""
    found: dict[tuple[str, str], str] = {}
    for kind, part in related.values():
        if kind in NOTE_NAMES and part in package:
            for note in package.xml(part):
                if attribute(note, "type") in ("", "normal"):
                    author = attribute(note, "author")
                    text = one_line(_plain(note))
                    label = f"{NOTE_NAMES[kind]} ({author})" if author else NOTE_NAMES[kind]
                    found[kind, attribute(note, "id")] = f"{label}: {text}" if text else ""
    return found


def _margins(package: Package, related: dict[str, tuple[str, str]]) -> list[str]:
    """Return the texts of headers and footers, each once."""
    parts = [part for kind, part in related.values() if kind in ("header", "footer") and part in package]
    return list(dict.fromkeys(text for part in parts if (text := _plain(package.xml(part)).strip())))


def _plain(root: Any) -> str:
    writer = Writer()
    _Reader(writer, {}, {}, lambda _: None).read(root)
    return writer.parsed("docx").text


def _alternative(package: Package, related: dict[str, tuple[str, str]]) -> Callable[[str], Parsed | None]:
    """Return a function that reads an imported part (`altChunk`) by its relationship id: HTML or text."""

    def read(reference: str) -> Parsed | None:
        _kind, part = related.get(reference, ("", ""))
        if part not in package or part.lower().endswith((".docx", ".rtf", ".bin")):
            return None
        return html.parse(package.read(part))

    return read


class _Cell:
    """Hold the blocks of a table cell, and the rows of the table that is open in it."""

    def __init__(self) -> None:
        self.blocks: list[str] = []
        self.rows: list[str] = []
        self.cells: list[str] = []


class _Reader:
    """Walk WordprocessingML without recursion. Paragraphs may hold text boxes with paragraphs, and cells may hold tables."""

    def __init__(
        self,
        writer: Writer,
        levels: dict[str, int],
        notes: dict[tuple[str, str], str],
        alternative: Callable[[str], Parsed | None],
    ) -> None:
        self._writer = writer
        self._levels = levels
        self._notes = notes
        self._alternative = alternative
        self._texts: list[list[str]] = [[]]
        self._paragraph_levels: list[int] = [0]
        self._pending: list[str] = []
        self._containers: list[_Cell] = [_Cell()]

    def read(self, root: Any) -> None:
        walker = etree.iterwalk(root, events=("start", "end"))
        for event, element in walker:
            name = local(element)
            if event == "end":
                self._leave(name)
            elif name in SKIPPED and not self._is_only_copy(element):
                walker.skip_subtree()
            else:
                self._enter(name, element)
        self._flush_block("".join(self._texts[0]), 0)

    def _is_only_copy(self, element: Any) -> bool:
        """Return whether a `Fallback` has no `Choice` next to it."""
        parent = element.getparent()
        return local(element) == "Fallback" and parent is not None and not any(local(each) == "Choice" for each in parent)

    def _enter(self, name: str, element: Any) -> None:
        text = self._texts[-1]
        if name == "t":
            text.append(element.text or "")
        elif name == "p":
            self._texts.append([])
            self._paragraph_levels.append(0)
        elif name == "tc":
            self._containers.append(_Cell())
        elif name in MARKS and local(element.getparent()) != "tabs":
            text.append(MARKS[name])
        elif name in NOTE_PARTS:
            self._pending.append(self._notes.get((NOTE_PARTS[name], attribute(element, "id")), ""))
        else:
            self._enter_rare(name, element, text)

    def _enter_rare(self, name: str, element: Any, text: list[str]) -> None:
        if name in ("pStyle", "outlineLvl"):
            self._take_level(name, attribute(element, "val"))
        elif name == "sym":
            code = int(attribute(element, "char") or "0", 16)
            text.append("" if code in PRIVATE_USE else chr(code))
        elif name in MATH_MARKS and "math" in element.tag:
            text.append(MATH_MARKS[name])
        elif name == "d" and "math" in element.tag:
            text.append("(")
        elif name == "docPr" and (description := attribute(element, "descr")):
            text.append(f" {description} ")
        elif name == "textpath":
            text.append(f" {attribute(element, 'string')} ")
        elif name == "ddList":
            text.append(_chosen(element))
        elif name == "altChunk" and (parsed := self._alternative(attribute(element, "id"))):
            self._writer.include(parsed)

    def _take_level(self, name: str, value: str) -> None:
        level = self._levels.get(value, 0) if name == "pStyle" else int(value) + 1 if value.isdigit() and int(value) < 9 else 0
        self._paragraph_levels[-1] = level or self._paragraph_levels[-1]

    def _leave(self, name: str) -> None:
        if name == "p" and len(self._texts) > 1:
            self._flush_block("".join(self._texts.pop()), self._paragraph_levels.pop())
        elif name == "d" and self._texts[-1]:
            self._texts[-1].append(")" if "(" in self._texts[-1] else "")
        elif name == "tc" and len(self._containers) > 1:
            cell = self._containers.pop()
            self._containers[-1].cells.append(" ".join(cell.blocks))
        elif name == "tr":
            row = " | ".join(self._containers[-1].cells).strip(" |")
            self._containers[-1].rows.append(row)
            self._containers[-1].cells.clear()
        elif name == "tbl":
            rows = "\n".join(row for row in self._containers[-1].rows if row)
            self._containers[-1].rows.clear()
            self._flush_block(rows, 0)

    def _flush_block(self, text: str, level: int) -> None:
        """Give a finished paragraph or table to the cell that holds it, else to the document."""
        notes, self._pending = self._pending, []
        blocks = [text, *notes]
        if len(self._containers) > 1:
            self._containers[-1].blocks += [block.strip() for block in blocks if block.strip()]
            return
        if level and text.strip():
            self._writer.head(level, text)
            blocks = notes
        for block in blocks:
            self._writer.add(block)


def _chosen(drop_down: Any) -> str:
    """Return the chosen entry of an older form's drop-down list."""
    entries = [attribute(each, "val") for each in drop_down if local(each) == "listEntry"]
    chosen = next((attribute(each, "val") for each in drop_down if local(each) == "result"), "0")
    return entries[int(chosen)] if chosen.isdigit() and int(chosen) < len(entries) else ""
