"""Spreadsheets by calamine (XLSX, XLSM, XLSB, XLS), and the comments, drawings and charts that calamine leaves out."""

from __future__ import annotations

import datetime as dt
from typing import Any, BinaryIO

from search.parsing.document import Parsed, Unreadable, Writer
from search.parsing.package import Package, attribute, local
from search.parsing.tables import add_table
from search.parsing.word import drawing_text

MAX_ROWS = 1_048_576


def parse(file: BinaryIO, package: Package | None = None, kind: str = "xlsx") -> Parsed:
    """Return each sheet as a section with a paragraph a row.

    Args:
        package: the same file as a package, where it is one.
    """
    import python_calamine as calamine

    try:
        book = calamine.CalamineWorkbook.from_filelike(file)
    except calamine.PasswordError as error:
        raise Unreadable("It is encrypted. Remove its password") from error
    except (calamine.CalamineError, OSError) as error:
        raise Unreadable(f"It is a damaged spreadsheet: {error}") from error
    writer = Writer()
    for name in book.sheet_names:
        try:
            rows = book.get_sheet_by_name(name).to_python(skip_empty_area=True)
        except (calamine.CalamineError, OSError) as error:
            writer.note(f"The sheet “{name}” was not read: {error}")
            continue
        writer.mark(1, name)
        add_table(writer, ([_text(value) for value in row] for row in rows), level=2)
    if package is not None:
        _add_overlays(writer, package)
    return writer.parsed(kind)


def _text(value: Any) -> str:
    """Return a cell's value as people write it."""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(round(value, 12))
    if isinstance(value, dt.datetime):
        return value.isoformat(sep=" ", timespec="minutes") if value.time() != dt.time() else value.date().isoformat()
    return str(value).strip()


def _add_overlays(writer: Writer, package: Package) -> None:
    """Add the texts outside the cells: comments, text boxes, diagrams, and charts."""
    comments = [*package.matching("xl/comments"), *package.matching("xl/threadedComments/")]
    for name in comments:
        for comment in package.xml(name).iter():
            if local(comment) in ("comment", "threadedComment"):
                text = "".join(each.text or "" for each in comment.iter() if local(each) in ("t", "text"))
                writer.add(f"Comment on {attribute(comment, 'ref')}: {text}")
    for name in [*package.matching("xl/drawings/drawing"), *package.matching("xl/charts/chart"), *package.matching("xl/diagrams/data")]:
        writer.add(drawing_text(package.xml(name)))
