"""Read one file of any kind. This runs in the bounded process: see `search.parsing.bounded`."""

from __future__ import annotations

import zipfile
import zlib
from typing import BinaryIO

from search.parsing.document import Parsed, Unreadable, searchable
from webapp.core.text_encoding import BinaryDataError

NO_TEXT = "It contains no text"
NO_TEXT_IN_PDF = "It contains no text. Scanned pages need text recognition (OCR) first"


def parse(file: BinaryIO, name: str, *, depth: int = 0, recognize: bool = False) -> Parsed:
    """Return the text of a file.

    Args:
        file: seekable, at its beginning.
        name: the owner's name for the file.
        depth: how many mails the file lies within.
        recognize: read pictures, and pages without text, by text recognition (`search.parsing.ocr`).

    Raises:
        Unreadable: it cannot be read; the message is for people.
    """
    from search.parsing.kinds import find_kind

    kind = find_kind(file, name)
    try:
        parsed = _parse(kind, file, depth, recognize=recognize)
    except BinaryDataError as error:
        raise Unreadable(str(error)) from error
    if not parsed.text.strip():
        raise Unreadable(NO_TEXT_IN_PDF if kind == "pdf" else NO_TEXT, scanned=parsed.scanned)
    return parsed


def _parse(kind: str, file: BinaryIO, depth: int, *, recognize: bool) -> Parsed:
    from search.parsing import html, mail, opendocument, pdf, plain, rtf, spreadsheet, tables

    if kind == "pdf":
        return pdf.parse(file, recognize=recognize)
    if kind == "picture":
        return _picture(file, recognize=recognize)
    if kind == "zip":
        return _package(file)
    if kind == "xls":
        return spreadsheet.parse(file, kind="xls")
    if kind == "mail":
        return mail.parse(file.read(), lambda part, name, deeper: parse(part, name, depth=deeper), depth)
    readers = {
        "html": html.parse,
        "markdown": plain.markdown,
        "csv": tables.comma_separated,
        "jsonl": tables.json_lines,
        "code": plain.code,
        "text": plain.text,
        "rtf": rtf.parse,
        "fodf": opendocument.parse_flat,
    }
    return readers[kind](file.read())


def _picture(file: BinaryIO, *, recognize: bool) -> Parsed:
    """Return the text that a picture shows."""
    from search.parsing import ocr

    if not recognize:
        raise Unreadable("It is a picture: its text needs text recognition (OCR) first", scanned=1, unsupported=True)
    return Parsed(
        "picture", searchable(ocr.read_picture(file.read())), notes=["It was read by text recognition (OCR), which makes mistakes."]
    )


def _package(file: BinaryIO) -> Parsed:
    """Return the text of an Office, OpenDocument or EPUB package."""
    from lxml import etree

    from search.parsing import epub, opendocument, slides, spreadsheet, word
    from search.parsing.kinds import find_package_kind
    from search.parsing.package import Package

    try:
        package = Package(file)
        kind, main = find_package_kind(package)
        file.seek(0)
        readers = {
            "docx": lambda: word.parse(package, main),
            "pptx": lambda: slides.parse(package, main),
            "odf": lambda: opendocument.parse(package),
            "epub": lambda: epub.parse(package),
            "xlsx": lambda: spreadsheet.parse(file, package),
        }
        parsed = readers[kind]()
    except (zipfile.BadZipFile, zlib.error, etree.LxmlError, KeyError, ValueError, EOFError, NotImplementedError) as error:
        if isinstance(error, Unreadable):
            raise
        raise Unreadable(f"It is a damaged document: {type(error).__name__}") from error
    if package.damaged:
        parsed.notes.append(f"It is damaged, and text may be missing ({', '.join(sorted(package.damaged)[:5])}).")
    return parsed
