"""CSV and JSONL: each row becomes a paragraph of `name: value` lines, so that a passage makes sense alone."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from search.parsing.document import Parsed, Unreadable, Writer
from search.parsing.plain import decode

ROWS_A_SECTION = 100
MAX_FIELD = 1_000_000
MAX_DEPTH = 8


def comma_separated(raw: bytes) -> Parsed:
    """A CSV (or TSV) with its header in the first row."""
    content = decode(raw)
    csv.field_size_limit(MAX_FIELD)
    try:
        delimiter = csv.Sniffer().sniff(content[:10_000], delimiters=",;\t|").delimiter
    except csv.Error:
        delimiter = ","
    writer = Writer()
    try:
        rows = csv.reader(io.StringIO(content), delimiter=delimiter)
        header = next(rows, [])
        for number, row in enumerate(rows, 1):
            _section(writer, number)
            named = zip([*header, *[""] * (len(row) - len(header))], row, strict=False)
            writer.add("\n".join(f"{name}: {value}" if name else value for name, value in named if value.strip()))
    except csv.Error as error:
        raise Unreadable(f"It is not CSV: {error}") from error
    if not writer.headings and header:
        writer.add(", ".join(header))
    return writer.parsed("csv")


def json_lines(raw: bytes) -> Parsed:
    """One JSON value a line."""
    writer = Writer()
    for number, line in enumerate(decode(raw).split("\n"), 1):
        if line.strip():
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise Unreadable(f"Line {number} is not JSON") from error
            _section(writer, number)
            writer.add("\n".join(_lines(value)))
    return writer.parsed("jsonl")


def _section(writer: Writer, number: int) -> None:
    if number % ROWS_A_SECTION == 1:
        writer.mark(1, f"Rows {number} to {number + ROWS_A_SECTION - 1}")


def _lines(value: Any, name: str = "", depth: int = 0) -> list[str]:
    """A value as `path.to.field: text` lines."""
    if depth < MAX_DEPTH and isinstance(value, dict):
        return [line for key, inner in value.items() for line in _lines(inner, f"{name}.{key}" if name else str(key), depth + 1)]
    if depth < MAX_DEPTH and isinstance(value, list):
        return [line for inner in value for line in _lines(inner, name, depth + 1)]
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return [f"{name}: {text}" if name else text]
