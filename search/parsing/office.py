"""PDF and DOCX."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

from search.parsing.document import Parsed, Unreadable, Writer

MAX_UNPACKED = 200 * 1024 * 1024
MAX_RATIO = 200
"""Real documents shrink by 5 to 30 times; a bomb by 1,000."""


def pdf(path: Path) -> Parsed:
    """The pages' text; the outline's titles are the headings where there is one, else the page numbers."""
    from pypdf import PdfReader
    from pypdf.errors import PyPdfError

    try:
        reader = PdfReader(path)
        if reader.is_encrypted and not reader.decrypt(""):
            raise Unreadable("It is encrypted. Remove its password")
        writer = Writer()
        titles = _outline(reader)
        for number, page in enumerate(reader.pages, 1):
            for level, title in titles.get(number, () if titles else [(1, f"Page {number}")]):
                writer.mark(level, title)
            writer.add(page.extract_text())
    except (PyPdfError, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, NotImplementedError) as error:
        raise Unreadable(f"It is a damaged PDF: {type(error).__name__}") from error
    return writer.parsed("pdf")


def _outline(reader: Any) -> dict[int, list[tuple[int, str]]]:
    """(level, title) by page number."""
    found: dict[int, list[tuple[int, str]]] = {}
    stack = [(1, list(reader.outline))]
    while stack:
        level, entries = stack.pop()
        for entry in entries:
            if isinstance(entry, list):
                stack.append((level + 1, entry))
            elif (page := reader.get_destination_page_number(entry)) is not None:
                found.setdefault(page + 1, []).append((level, str(entry.title)))
    return {page: sorted(titles) for page, titles in found.items()}


def docx(path: Path) -> Parsed:
    """Paragraphs, tables and headings by style, in the document's order."""
    from docx import Document
    from docx.opc.exceptions import OpcError
    from docx.table import Table
    from lxml import etree

    try:
        _check_zip(path)
        writer = Writer()
        for block in Document(str(path)).iter_inner_content():
            if isinstance(block, Table):
                writer.add("\n".join(" | ".join(cell.text.strip() for cell in row.cells) for row in block.rows))
            else:
                _paragraph(writer, block)
    except (zipfile.BadZipFile, OpcError, etree.LxmlError, KeyError, ValueError, AttributeError) as error:
        raise Unreadable(f"It is a damaged DOCX, or another kind of Office or ZIP file: {type(error).__name__}") from error
    return writer.parsed("docx")


def _paragraph(writer: Writer, paragraph: Any) -> None:
    style = paragraph.style.name if paragraph.style is not None else ""
    name, _, level = style.rpartition(" ")
    if style == "Title":
        writer.head(1, paragraph.text)
    elif name == "Heading" and level.isdigit():
        writer.head(int(level), paragraph.text)
    else:
        writer.add(paragraph.text)


def _check_zip(path: Path) -> None:
    """Refuse what would unpack to far more than it is, before anything is unpacked."""
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > MAX_UNPACKED or unpacked > max(path.stat().st_size * MAX_RATIO, 1024 * 1024):
        raise Unreadable(f"It would unpack to {unpacked // 1024 // 1024} MB, which is too large")
