"""Tell the kind of a file by its content, and by its name where the content leaves it open."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import BinaryIO

from search.parsing.document import Unreadable
from search.parsing.package import Package, attribute, local

HEAD_BYTES = 4096
_CODE = """
    .py .js .mjs .ts .tsx .jsx .go .rs .c .h .cc .cpp .hpp .cs .java .kt .swift .rb .php .pl .lua .scala .sh .bash .sql .r .jl
    .ex .exs .hs .ml .clj .dart .zig .css
"""
SUFFIXES = {
    "html": {".html", ".htm", ".xhtml", ".xht"},
    "markdown": {".md", ".markdown", ".mdx"},
    "csv": {".csv", ".tsv", ".tab"},
    "jsonl": {".jsonl", ".ndjson"},
    "mail": {".eml", ".mht", ".mhtml"},
    "rtf": {".rtf"},
    "fodf": {".fodt", ".fods", ".fodp"},
    "code": set(_CODE.split()),
}
BINARY_SUFFIXES = {".pdf", ".docx", ".docm", ".dotx", ".dotm", ".xlsx", ".xlsm", ".pptx", ".pptm", ".odt", ".ods", ".odp", ".epub"}
OFFICE_KINDS = {"wordprocessingml": "docx", "spreadsheetml": "xlsx", "presentationml": "pptx"}
OFFICE_FOLDERS = {"word": "docx", "xl": "xlsx", "ppt": "pptx"}
# Names of streams in the older (OLE) container, in UTF-16 as its directory holds them.
OLE_KINDS = {
    "EncryptedPackage": "It is encrypted. Remove its password",
    "WordDocument": "It is a Word document of the older kind (.doc): save it as DOCX",
    "PowerPoint Document": "It is a presentation of the older kind (.ppt): save it as PPTX",
    "__nameid_version1.0": "It is an Outlook message (.msg): save it as .eml, or as text",
}
OLE_BOOKS = ("Workbook", "Book")
OLE = b"\xd0\xcf\x11\xe0"
PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"II*\x00", b"MM\x00*")


def find_kind(file: BinaryIO, name: str) -> str:
    """Return the kind of a file; the file is rewound.

    Raises:
        Unreadable: the file is empty, does not match its name, or is of a kind that Patchbay cannot read.
    """
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise Unreadable("It is empty")
    suffix = Path(name).suffix.lower()
    if kind := _by_signature(file, head):
        return kind
    if suffix in BINARY_SUFFIXES:
        raise Unreadable(f"Its name ends in {suffix}, but its content is something else")
    named = next((kind for kind, suffixes in SUFFIXES.items() if suffix in suffixes), "text")
    return _by_beginning(head) if named == "text" else named


def _by_signature(file: BinaryIO, head: bytes) -> str:
    """Return the kind of a file with a signature; empty for text."""
    if b"%PDF-" in head[:1024]:
        return "pdf"
    if head.startswith(b"{\\rtf"):
        return "rtf"
    if head.startswith(b"PK\x03\x04"):
        return "zip"
    if head.startswith(OLE):
        return _old_office(file)
    return "picture" if head.startswith(PICTURES) else ""


def _by_beginning(head: bytes) -> str:
    """Return the kind of a text without a telling name."""
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:15].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "html"
    if b"urn:oasis:names:tc:opendocument" in head and start.startswith(b"<?xml"):
        return "fodf"
    if start.startswith(b"<?xml") and b"<html" in head.lower():
        return "html"
    return "text"


def _old_office(file: BinaryIO) -> str:
    content = file.read()
    file.seek(0)
    for stream, reason in OLE_KINDS.items():
        if stream.encode("utf-16-le") in content:
            raise Unreadable(reason, unsupported=True)
    if any(stream.encode("utf-16-le") + b"\0\0" in content for stream in OLE_BOOKS):
        return "xls"
    raise Unreadable("It is an older Office file: save it as DOCX, XLSX or PPTX", unsupported=True)


def find_package_kind(package: Package) -> tuple[str, str]:
    """Return the kind of a ZIP package and the name of its main part.

    Raises:
        Unreadable: it is an archive, not a document.
        zipfile.BadZipFile, lxml.etree.LxmlError: it is damaged.
    """
    media = package.read("mimetype").decode(errors="replace").strip() if "mimetype" in package else ""
    if media.startswith("application/vnd.oasis.opendocument"):
        return "odf", "content.xml"
    if media.startswith("application/epub") or "META-INF/container.xml" in package:
        return "epub", ""
    main = next((part for kind, part in package.related("").values() if kind == "officeDocument"), "")
    if main in package:
        return _office_kind(package, main), main
    if "[Content_Types].xml" in package or any(name.split("/")[0] in OFFICE_FOLDERS for name in package.names):
        raise zipfile.BadZipFile("it has no main part")
    raise Unreadable("It is a ZIP archive: add the files that it holds", unsupported=True)


def _office_kind(package: Package, main: str) -> str:
    """Return the kind by the content type of the main part, else by its folder."""
    for element in package.xml("[Content_Types].xml") if "[Content_Types].xml" in package else ():
        if local(element) == "Override" and attribute(element, "PartName").lstrip("/") == main:
            content_type = attribute(element, "ContentType")
            if kind := next((kind for word, kind in OFFICE_KINDS.items() if word in content_type), ""):
                return kind
            if "ms-word" in content_type:
                return "docx"
            if "ms-excel" in content_type:
                return "xlsx"
            if "ms-powerpoint" in content_type:
                return "pptx"
    folder = main.partition("/")[0]
    if folder not in OFFICE_FOLDERS:
        raise Unreadable("It is an Office package of a kind that Patchbay cannot read", unsupported=True)
    return OFFICE_FOLDERS[folder]
