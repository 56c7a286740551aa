"""PPTX and its siblings (PPTM, POTX, PPSX): each slide's shapes, tables, diagrams, charts and notes."""

from __future__ import annotations

from typing import Any

from lxml import etree

from search.parsing.document import Parsed, Writer, one_line
from search.parsing.package import Package, attribute, local
from search.parsing.word import MATH_MARKS, drawing_text

TITLES = ("title", "ctrTitle")
SKIPPED_FIELDS = ("slidenum",)


def parse(package: Package, main: str) -> Parsed:
    """Return the slides in the order of the presentation; each slide is a section under its title.

    Raises:
        lxml.etree.LxmlError, KeyError: the package is damaged.
    """
    writer = Writer()
    for number, name in enumerate(_order(package, main), 1):
        _slide(writer, package, name, number)
    return writer.parsed("pptx")


def _order(package: Package, main: str) -> list[str]:
    related = package.related(main)
    ids = [value for element in package.xml(main).iter() if local(element) == "sldId" and (value := _reference(element))]
    return [related[each][1] for each in ids if each in related and related[each][1] in package]


def _reference(element: Any) -> str:
    """Return the relationship id: the attribute `id` that has a namespace, not the slide's own number."""
    return next((str(value) for key, value in element.attrib.items() if key.startswith("{") and key.endswith("}id")), "")


def _slide(writer: Writer, package: Package, name: str, number: int) -> None:
    root = package.xml(name)
    title, blocks = _shapes(root)
    writer.mark(1, title or f"Slide {number}")
    if title:
        writer.add(title)
    for block in blocks:
        writer.add(block)
    for kind, part in package.related(name).values():
        if part not in package:
            continue
        if kind in ("chart", "diagramData"):
            writer.add(drawing_text(package.xml(part)))
        elif kind == "notesSlide":
            notes = "\n".join(block for block in _shapes(package.xml(part))[1] if not block.isdigit())
            writer.add(f"Notes: {notes}" if notes.strip() else "")
        elif kind == "comments":
            writer.add("\n".join(f"Comment: {text}" for text in _comments(package.xml(part))))


def _comments(root: Any) -> list[str]:
    texts = [element.text or "" for element in root.iter() if local(element) in ("text", "t")]
    return [one_line(text) for text in texts if text.strip()]


def _shapes(root: Any) -> tuple[str, list[str]]:
    """Return the title and the other blocks of a slide: a paragraph, or a table of lines, each."""
    title, blocks = "", []
    walker = etree.iterwalk(root, events=("start",))
    for _event, element in walker:
        name = local(element)
        if name == "Fallback" and any(local(each) == "Choice" for each in element.getparent()):
            walker.skip_subtree()
        elif name == "tbl":
            rows = [" | ".join(_text(cell) for cell in row if local(cell) == "tc") for row in element if local(row) == "tr"]
            blocks.append("\n".join(row.strip(" |") for row in rows))
            walker.skip_subtree()
        elif name == "cNvPr" and (description := attribute(element, "descr")):
            blocks.append(description)
        elif name == "txBody":
            text = _text(element)
            if not title and _placeholder(element) in TITLES and text.strip():
                title = one_line(text)
            else:
                blocks.append(text)
            walker.skip_subtree()
    return title, blocks


def _placeholder(body: Any) -> str:
    """Return the type of the placeholder that a text body fills."""
    shape = body.getparent()
    return next((attribute(each, "type") for each in shape.iter() if local(each) == "ph"), "")


def _text(body: Any) -> str:
    """Return the paragraphs below an element, a line each; a breaking line and a formula included."""
    lines: list[str] = []
    for paragraph in body.iter():
        if local(paragraph) != "p":
            continue
        pieces: list[str] = []
        walker = etree.iterwalk(paragraph, events=("start",))
        for _event, element in walker:
            name = local(element)
            if name == "Fallback" or (name == "fld" and attribute(element, "type") in SKIPPED_FIELDS):
                walker.skip_subtree()
            elif name == "t":
                pieces.append(element.text or "")
            elif name == "br":
                pieces.append("\n")
            elif name in MATH_MARKS and "math" in element.tag:
                pieces.append(MATH_MARKS[name])
        lines.append("".join(pieces))
    return "\n".join(lines)
