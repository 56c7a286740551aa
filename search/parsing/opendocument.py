"""OpenDocument text, spreadsheets and presentations (ODT, ODS, ODP, their templates and flat XML)."""

from __future__ import annotations

from typing import Any

from lxml import etree

from search.parsing.document import Parsed, Writer, one_line
from search.parsing.package import Package, attribute, local, parse_xml, resolve
from search.parsing.tables import add_table

KINDS = {"text": "odt", "spreadsheet": "ods", "presentation": "odp", "graphics": "odp"}
_SKIPPED = """
    tracked-changes settings master-styles automatic-styles styles scripts font-face-decls annotation-end meta annotation binary-data
    sequence-decls user-field-decls variable-decls forms
"""
SKIPPED = frozenset(_SKIPPED.split())
MAX_SPACES = 100


def parse(package: Package) -> Parsed:
    """Return the text of a package: its content, then its page headers and footers.

    Raises:
        lxml.etree.LxmlError, KeyError: the package is damaged.
    """
    media = package.read("mimetype").decode(errors="replace") if "mimetype" in package else ""
    kind = next((kind for word, kind in KINDS.items() if f"opendocument.{word}" in media), "odt")
    writer = Writer()
    _Reader(writer, package).read(package.xml("content.xml"))
    if "styles.xml" in package:
        _margins(writer, package.xml("styles.xml"))
    return writer.parsed(kind)


def parse_flat(content: bytes) -> Parsed:
    """Return the text of a flat XML document (FODT, FODS, FODP)."""
    root = parse_xml(content)
    kind = next((kind for word, kind in KINDS.items() if f"opendocument.{word}" in attribute(root, "mimetype")), "odt")
    writer = Writer()
    _Reader(writer, None).read(root)
    _margins(writer, root)
    return writer.parsed(kind)


def _margins(writer: Writer, root: Any) -> None:
    """Add the texts of page headers and footers, each once."""
    texts = []
    for element in root.iter():
        if local(element) in ("header", "footer", "header-left", "footer-left", "header-first", "footer-first") and "style" in element.tag:
            inner = Writer()
            _Reader(inner, None).read(element)
            texts.append(inner.parsed("odt").text.strip())
    margins = list(dict.fromkeys(text for text in texts if text))
    if margins:
        writer.mark(1, "Headers and footers")
    for text in margins:
        writer.add(text)


class _Table:
    def __init__(self) -> None:
        self.rows: list[list[str]] = []
        self.cells: list[str] = []
        self.cell: list[str] = []


class _Reader:
    """Walk OpenDocument XML without recursion."""

    def __init__(self, writer: Writer, package: Package | None) -> None:
        self._writer = writer
        self._package = package
        self._texts: list[list[str]] = []
        self._tables: list[_Table] = []
        self._pending: list[str] = []

    def read(self, root: Any) -> None:
        walker = etree.iterwalk(root, events=("start", "end"))
        for event, element in walker:
            name = local(element)
            if event == "end":
                self._leave(name, element)
                if self._texts and element is not root:
                    self._texts[-1].append(element.tail or "")
            elif name in SKIPPED and element is not root:
                if name == "annotation":
                    self._pending.append("Comment: " + _paragraphs(element))
                walker.skip_subtree()
                if self._texts:
                    self._texts[-1].append(element.tail or "")
            else:
                self._enter(name, element)

    def _enter(self, name: str, element: Any) -> None:
        if name in ("p", "h"):
            self._texts.append([element.text or ""])
        elif name == "table":
            if not self._tables and (title := attribute(element, "name")) and self._is_sheet(element):
                self._writer.mark(1, title)
            self._tables.append(_Table())
        elif name == "page" and "drawing" in element.tag:
            self._writer.mark(1, attribute(element, "name") or "Slide")
        elif name == "object" and self._package and (target := attribute(element, "href")):
            self._embedded(target)
        elif self._texts:
            self._texts[-1].append(_mark(name, element))

    def _is_sheet(self, element: Any) -> bool:
        parent = element.getparent()
        return parent is not None and local(parent) == "spreadsheet"

    def _embedded(self, target: str) -> None:
        """Add the text of an embedded formula or chart."""
        assert self._package is not None, "the caller has a package"
        part = resolve("content.xml", target) + "/content.xml"
        if part not in self._package:
            return
        texts = [each.text or "" for each in self._package.xml(part).iter() if local(each) in ("mi", "mn", "mo", "mtext", "p")]
        text = one_line(" ".join(texts))
        if self._texts:
            self._texts[-1].append(f" {text} ")
        else:
            self._block(text)

    def _leave(self, name: str, element: Any) -> None:
        if name in ("p", "h") and self._texts:
            text = "".join(self._texts.pop())
            level = attribute(element, "outline-level") if name == "h" else ""
            if level.isdigit() and not self._tables and not self._texts:
                self._writer.head(int(level), text)
            else:
                self._block(text)
        elif name in ("title", "desc") and self._texts:
            self._texts[-1].append(" ")
        elif self._tables:
            self._leave_table(name, element)

    def _leave_table(self, name: str, element: Any) -> None:
        table = self._tables[-1]
        if name in ("table-cell", "covered-table-cell"):
            table.cells.append("\n".join(table.cell))
            table.cell = []
        elif name == "table-row":
            table.rows.append(table.cells)
            table.cells = []
        elif name == "table":
            self._tables.pop()
            if self._is_sheet(element):
                add_table(self._writer, table.rows, level=2)
            else:
                self._block("\n".join(" | ".join(row).strip(" |") for row in table.rows if any(row)))

    def _block(self, text: str) -> None:
        """Give a finished paragraph to the cell that is open, else to the document."""
        blocks, self._pending = [text, *self._pending], []
        if self._tables:
            self._tables[-1].cell += [block.strip() for block in blocks if block.strip()]
            return
        for block in blocks:
            self._writer.add(block)


def _mark(name: str, element: Any) -> str:
    if name == "s":
        count = attribute(element, "c")
        return " " * (min(int(count), MAX_SPACES) if count.isdigit() else 1)
    before = {"tab": "\t", "line-break": "\n", "note-citation": " [", "note-body": "] "}.get(name, "")
    return before + (element.text or "")


def _paragraphs(element: Any) -> str:
    return one_line(" ".join("".join(each.itertext()) for each in element.iter() if local(each) == "p"))
