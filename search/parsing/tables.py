"""CSV, JSON lines and sheets: each row becomes a paragraph of `name: value` lines, so that a passage makes sense alone."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from search.parsing.document import Parsed, Unreadable, Writer, one_line
from webapp.core import csv_tables, text_encoding

ROWS_A_SECTION = 100
MAX_DEPTH = 8
HEADER_SEARCH_ROWS = 20


def comma_separated(raw: bytes) -> Parsed:
    """Return the rows of a CSV (or TSV) by its header; the lines above the header stand as they are."""
    decoded = text_encoding.decode(raw)
    layout = csv_tables.find_layout(decoded.text)
    writer = Writer()
    _note_encoding(writer, decoded)
    above = [line for line in _above(decoded.text, layout) if line]
    writer.add("\n".join(above))
    try:
        rows = csv_tables.read_rows(io.StringIO(decoded.text, newline=""), layout)
        header = next((cells for _, cells in rows), [])
        before = len(writer.headings)
        _add_rows(writer, header, (cells for _, cells in rows), level=1)
    except csv.Error as error:
        raise Unreadable(f"It is not CSV: {error}") from error
    if len(writer.headings) == before and header:
        writer.add(", ".join(header))
    return writer.parsed("csv")


def _above(text: str, layout: csv_tables.CsvLayout) -> Iterator[str]:
    """Yield the lines above the header, without Excel's `sep=`."""
    first = csv_tables.CsvLayout(layout.delimiter, 0, 0)
    for _, cells in islice(csv_tables.read_rows(io.StringIO(text, newline=""), first), layout.skipped):
        line = " | ".join(cell.strip() for cell in cells if cell.strip())
        if not line.lower().startswith("sep="):
            yield line


def _note_encoding(writer: Writer, decoded: text_encoding.DecodedText) -> None:
    if note := encoding_note(decoded):
        writer.note(note)


def encoding_note(decoded: text_encoding.DecodedText) -> str:
    """Return a sentence about a guessed encoding, or about bytes that are not text; empty where all is well."""
    if decoded.replaced:
        bytes_ = "1 character" if decoded.replaced == 1 else f"{decoded.replaced:,} characters"
        return f"{bytes_} could not be decoded and shown as “\ufffd” (read as {decoded.encoding})."
    return f"It does not name its encoding: read as {decoded.encoding}." if decoded.guessed else ""


def add_table(writer: Writer, rows: Iterable[Sequence[str]], *, level: int) -> None:
    """Add a sheet's rows. The first row that fills the width is the header; rows above it stand as they are."""
    filled = ([cell.strip() for cell in row] for row in rows)
    sample = list(islice((row for row in filled if any(row)), HEADER_SEARCH_ROWS))
    width = max((_last(row) for row in sample), default=0)
    header_at = next((number for number, row in enumerate(sample) if _is_header(row, width)), None)
    if header_at is None or width < 2 or len(sample) - header_at < 2:
        for number, row in enumerate(chain(sample, filled), 1):
            _mark_section(writer, number, level)
            writer.add(" | ".join(cell for cell in row if cell), end="\n")
        return
    for row in sample[:header_at]:
        writer.add(" | ".join(cell for cell in row if cell))
    _add_rows(writer, sample[header_at], chain(sample[header_at + 1 :], filled), level=level)


def _last(row: Sequence[str]) -> int:
    return max((number for number, cell in enumerate(row, 1) if cell), default=0)


def _is_header(row: Sequence[str], width: int) -> bool:
    """Whether a row names the columns: nearly all cells are filled, different from each other, and not numbers."""
    names = [cell for cell in row if cell]
    words = sum(not _is_number(name) for name in names)
    return len(names) >= max(2, width * 0.7) and len(set(names)) == len(names) and words > len(names) * 0.7


def _is_number(text: str) -> bool:
    return text.replace(".", "").replace(",", "").replace("-", "").replace("%", "").strip().isdigit()


def _add_rows(writer: Writer, header: Sequence[str], rows: Iterable[Sequence[str]], *, level: int) -> None:
    names = [one_line(name) for name in header]
    number = 0
    for row in rows:
        named = zip([*names, *[""] * (len(row) - len(names))], row, strict=False)
        lines = [f"{name}: {value.strip()}" if name else value.strip() for name, value in named if value.strip()]
        if lines:
            number += 1
            _mark_section(writer, number, level)
            writer.add("\n".join(lines))
    if number == 0:
        writer.add(", ".join(names))


def json_lines(raw: bytes) -> Parsed:
    """Return one JSON value a line."""
    writer = Writer()
    decoded = text_encoding.decode(raw)
    _note_encoding(writer, decoded)
    for number, line in enumerate(decoded.text.split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Unreadable(f"Line {number} is not JSON") from error
            _mark_section(writer, number, 1)
            writer.add("\n".join(_lines(value)))
    return writer.parsed("jsonl")


def _mark_section(writer: Writer, number: int, level: int) -> None:
    if number % ROWS_A_SECTION == 1:
        writer.mark(level, f"Rows {number} to {number + ROWS_A_SECTION - 1}")


def _lines(value: Any, name: str = "", depth: int = 0) -> list[str]:
    """Return a value as `path.to.field: text` lines."""
    if depth < MAX_DEPTH and isinstance(value, dict):
        return [line for key, inner in value.items() for line in _lines(inner, f"{name}.{key}" if name else str(key), depth + 1)]
    if depth < MAX_DEPTH and isinstance(value, list):
        return [line for inner in value for line in _lines(inner, name, depth + 1)]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [f"{name}: {text}" if name else text]
