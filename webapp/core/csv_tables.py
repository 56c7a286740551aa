"""Read CSV as people save it: any common delimiter, Excel's `sep=` line, quoted headers, and titles above the table."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

DELIMITERS = ",;\t|"
SAMPLE_ROWS = 100
SAMPLE_CHARS = 65_536
MAX_CELL_CHARS = 1_000_000
MAX_PREAMBLE_ROWS = 30
SEP_LINE = re.compile(r'^\ufeff?"?sep=(?P<delimiter>[^"\r\n])"?[;,]*\r?\n', re.IGNORECASE)

csv.field_size_limit(MAX_CELL_CHARS)


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """Describe the layout of a CSV text.

    Attributes:
        delimiter: one character.
        skipped: rows above the header, counted as the CSV reader counts them: a `sep=` line, titles, blank lines.
        width: cells of the header.
    """

    delimiter: str
    skipped: int
    width: int


def find_layout(head: str) -> CsvLayout:
    """Find delimiter and header in the beginning of a CSV text (about SAMPLE_CHARS characters are enough)."""
    head = head.removeprefix("\ufeff")[:SAMPLE_CHARS]
    named = SEP_LINE.match(head)
    body = head[named.end() :] if named else head
    delimiters = named["delimiter"] if named else DELIMITERS
    best = max(
        ((_width(rows), delimiter, rows) for delimiter in delimiters if (rows := _sample(body, delimiter))), default=None, key=_score
    )
    if best is None:
        return CsvLayout(named["delimiter"] if named else ",", bool(named), 0)
    (width, _share), delimiter, rows = best
    header = _header_row(rows, width)
    return CsvLayout(delimiter, header + bool(named), len(rows[header]))


def read_rows(text: Iterable[str], layout: CsvLayout, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) from the header on; the first row is the header.

    Raises:
        csv.Error: a quotation is broken (`strict` only), or a cell holds more than MAX_CELL_CHARS characters.
    """
    reader = csv.reader(_without_mark(text), delimiter=layout.delimiter, strict=strict)
    for number, cells in enumerate(reader):
        if number >= layout.skipped:
            yield reader.line_num, cells


def _without_mark(text: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(text):
        yield line if number else line.removeprefix("\ufeff")


def _sample(body: str, delimiter: str) -> list[list[str]]:
    """Return the first rows under this delimiter; a row that the sample may have cut is left out."""
    rows: list[list[str]] = []
    try:
        for row in csv.reader(io.StringIO(body, newline=""), delimiter=delimiter):
            rows.append(row)
            if len(rows) >= SAMPLE_ROWS:
                return rows
    except csv.Error:
        return rows
    return rows[:-1] if len(body) >= SAMPLE_CHARS and len(rows) > 1 else rows


def _width(rows: list[list[str]]) -> tuple[int, float]:
    """Return the commonest number of cells, above one where there is any, and the share of the rows that have it."""
    counts = Counter(len(row) for row in rows if any(cell.strip() for cell in row))
    wide = {width: count for width, count in counts.items() if width > 1}
    if not wide:
        return 1, 1.0
    width = max(wide, key=lambda each: (wide[each], each))
    return width, wide[width] / sum(counts.values())


def _score(candidate: tuple[tuple[int, float], str, list[list[str]]]) -> tuple[bool, float, int]:
    (width, share), delimiter, rows = candidate
    # A delimiter splits the header as well: a comma inside cells of a semicolon table does not.
    splits_most = share if width > 1 else 0.0
    whole = sum(len(row) == width for row in rows[:MAX_PREAMBLE_ROWS])
    return width > 1 and whole > 0, round(splits_most, 1), width if delimiter != "|" else width - 1


def _header_row(rows: list[list[str]], width: int) -> int:
    """Return the index of the first row that fills the table's width: the rows above it are titles."""
    for number, row in enumerate(rows[:MAX_PREAMBLE_ROWS]):
        filled = sum(bool(cell.strip()) for cell in row)
        if filled == len(row) == width or (len(row) >= width and filled > max(1, width * 0.7)):
            return number
    return next((number for number, row in enumerate(rows) if any(cell.strip() for cell in row)), 0)
