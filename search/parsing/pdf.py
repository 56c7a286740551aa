"""PDF by PDFium: the text of each page with its filled form fields and comments. docs/adr/0013 has the comparison with pypdf."""

from __future__ import annotations

import ctypes
import re
import unicodedata
from typing import Any, BinaryIO

from search.parsing import ocr
from search.parsing.document import Parsed, Unreadable, Writer

# PDFium writes U+FFFE (older versions U+0002) for a hyphen that it takes for the end of a line within a word.
BROKEN_WORD = re.compile(r"(?<=\w)[\ufffe\x02]\s*\n?[ \t]*(?=\w)")
HYPHEN_AT_END = re.compile(r"(?<=[^\W\d_])[-\u2010\u00ad][ \t]*\n[ \t]*(?=[^\W\d_A-Z])")
CONTROL = re.compile(r"[\ufffe\uffff\x00-\x08\x0b\x0e-\x1f]")
# Older TeX fonts draw an accent before its letter.
ACCENTS = {"´": "\u0301", "¨": "\u0308", "ˇ": "\u030c", "˚": "\u030a", "˝": "\u030b"}
ACCENTED = re.compile(r"([´¨ˇ˚˝])([^\W\d_])(?!\w*´)")
WORD = re.compile(r"[^\W_]{4,}")
MIN_GAP = 0.12
MIN_OVERLAP = 0.1
MIN_JUMP = 1.5
"""Shares of the font's size: a gap between two letters that is a space, cells of a table that overlap, and a step back to a new line."""
PASSWORD_ERROR = 4
MAX_COMMENTS = 1000
SCANNED_SHARE = 0.5


def parse(file: BinaryIO, *, recognize: bool = False) -> Parsed:
    """Return the pages' text; the outline's titles are the headings where there is one, else the page numbers.

    Args:
        recognize: read pages without text by text recognition (`search.parsing.ocr`).
    """
    import pypdfium2 as pdfium

    try:
        document = pdfium.PdfDocument(file, autoclose=False)
    except pdfium.PdfiumError as error:
        if getattr(error, "err_code", None) == PASSWORD_ERROR or "password" in str(error).lower():
            raise Unreadable("It is encrypted. Remove its password") from error
        raise Unreadable(f"It is a damaged PDF: {error}") from error
    try:
        return _read(document, pdfium, recognize=recognize)
    except pdfium.PdfiumError as error:
        raise Unreadable(f"It is a damaged PDF: {error}") from error
    finally:
        document.close()


def _read(document: Any, pdfium: Any, *, recognize: bool) -> Parsed:
    document.init_forms()
    writer = Writer()
    titles = _outline(document)
    broken, scanned, count = [], [], len(document)
    for number in range(count):
        writer.begin_page()
        for level, title in titles.get(number, () if titles else [(1, f"Page {number + 1}")]):
            writer.mark(level, title)
        try:
            text, has_picture = _page(document, pdfium, number)
        except pdfium.PdfiumError:
            broken.append(number + 1)
            continue
        if not text.strip() and has_picture:
            scanned.append(number)
            text = _recognized(document, number) if recognize else ""
        writer.add(text)
    _note(writer, count, broken, scanned, recognized=recognize)
    if attached := document.count_attachments():
        writer.note(f"{attached} attached {'file was' if attached == 1 else 'files were'} not read.")
    return writer.parsed("pdf")


def _note(writer: Writer, count: int, broken: list[int], scanned: list[int], *, recognized: bool) -> None:
    """Say which pages gave no text."""
    if broken:
        writer.note(f"{len(broken)} of {count} pages are damaged and were not read: {_numbers(broken)}.")
    if scanned and recognized:
        writer.note(f"{len(scanned)} of {count} pages were read by text recognition (OCR), which makes mistakes.")
    elif scanned:
        writer.scanned = len(scanned)
        pages = _numbers([number + 1 for number in scanned])
        writer.note(f"{len(scanned)} of {count} pages hold pictures and no text (page {pages}): scanned?")


def _recognized(document: Any, number: int) -> str:
    page = document[number]
    try:
        return ocr.read_page(page)
    finally:
        page.close()


def _numbers(pages: list[int]) -> str:
    """Return page numbers as ranges: 1-3, 7."""
    ranges: list[list[int]] = []
    for page in pages:
        if ranges and page == ranges[-1][1] + 1:
            ranges[-1][1] = page
        else:
            ranges.append([page, page])
    shown = [f"{first}-{last}" if last > first else str(first) for first, last in ranges[:12]]
    return ", ".join(shown) + (", …" if len(ranges) > len(shown) else "")


def _page(document: Any, pdfium: Any, number: int) -> tuple[str, bool]:
    """Return a page's text with its filled fields and comments, and whether the page shows pictures or drawings."""
    page = document[number]
    try:
        comments = _comments(page, pdfium.raw)
        if _has_widgets(page, pdfium.raw):
            page.flatten()
            page.close()
            page = document[number]
        textpage = page.get_textpage()
        text = _clean(_separate_words(textpage, pdfium.raw))
        textpage.close()
        has_picture = not text.strip() and any(True for _ in page.get_objects(max_depth=2))
        return "\n\n".join([text, *comments]), has_picture
    finally:
        page.close()


def _separate_words(textpage: Any, raw: Any) -> str:
    """Return the page's text with spaces where PDFium overlooked a narrow gap between two words."""
    text = textpage.get_text_range()
    if len(text) != textpage.count_chars():
        return str(text)  # the places of its characters are not known
    pieces, done = [], 0
    for word in WORD.finditer(text):
        for place, separator in _breaks(textpage, raw, *word.span()):
            pieces += [text[done:place], separator]
            done = place
    return "".join([*pieces, text[done:]])


def _breaks(textpage: Any, raw: Any, start: int, end: int) -> list[tuple[int, str]]:
    """Return the places within a word where a gap or a step back separates it; none where all its letters stand apart."""
    size = raw.FPDFText_GetFontSize(textpage, start)
    box = raw.FS_RECTF()
    found = []
    previous = None
    for place in range(start, end):
        raw.FPDFText_GetLooseCharBox(textpage, place, ctypes.byref(box))
        if previous is not None:
            gap = box.left - previous
            if gap > MIN_GAP * size:
                found.append((place, " "))
            elif gap < -MIN_JUMP * size:
                found.append((place, "\n"))
            elif gap < -MIN_OVERLAP * size and _is_other_object(textpage, raw, place):
                found.append((place, " "))
        previous = box.right
    return found if len(found) * 2 < end - start - 1 else []


def _is_other_object(textpage: Any, raw: Any, place: int) -> bool:
    """Return whether a character and the one before it are drawn by two operators: kerning moves letters within one."""
    before, after = (raw.FPDFText_GetTextObject(textpage, index) for index in (place - 1, place))
    return bool(before) and bool(after) and ctypes.addressof(before.contents) != ctypes.addressof(after.contents)


def _clean(text: str) -> str:
    """Unify the line ends, join words that were broken at the end of a line, and put accents on their letters."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = BROKEN_WORD.sub("", text)
    text = HYPHEN_AT_END.sub("", text)
    text = ACCENTED.sub(_accented, text)
    return CONTROL.sub("", text)


def _accented(found: re.Match[str]) -> str:
    letter = {"ı": "i", "ȷ": "j"}.get(found[2], found[2])
    composed = unicodedata.normalize("NFC", letter + ACCENTS[found[1]])
    return composed if len(composed) == 1 else found[0]


def _has_widgets(page: Any, raw: Any) -> bool:
    """Return whether the page has form fields or text notes, which are separate from its content."""
    return any(kind in (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP) for kind, _ in _annotations(page, raw))


def _comments(page: Any, raw: Any) -> list[str]:
    """Return the texts of sticky notes and marks."""
    kinds = (raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE, raw.FPDF_ANNOT_STRIKEOUT, raw.FPDF_ANNOT_SQUIGGLY)
    return [f"Comment: {text}" for kind, text in _annotations(page, raw) if kind in kinds and text.strip()]


def _annotations(page: Any, raw: Any) -> list[tuple[int, str]]:
    found = []
    for index in range(min(raw.FPDFPage_GetAnnotCount(page), MAX_COMMENTS)):
        annotation = raw.FPDFPage_GetAnnot(page, index)
        if annotation:
            found.append((raw.FPDFAnnot_GetSubtype(annotation), _contents(annotation, raw)))
            raw.FPDFPage_CloseAnnot(annotation)
    return found


def _contents(annotation: Any, raw: Any) -> str:
    size = raw.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0)
    if size <= 2:
        return ""
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFAnnot_GetStringValue(annotation, b"Contents", ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", errors="replace")


def _outline(document: Any) -> dict[int, list[tuple[int, str]]]:
    """Return (level, title) by page index."""
    found: dict[int, list[tuple[int, str]]] = {}
    for bookmark in document.get_toc():
        destination = bookmark.get_dest()
        page = destination.get_index() if destination else None
        title = bookmark.get_title().strip()
        if page is not None and title:
            found.setdefault(page, []).append((bookmark.level + 1, title))
    return found
